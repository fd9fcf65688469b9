"""What the base class promises of every chip, shown on a null chip that records what it was sent."""

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.null import NullBackend
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.backends.validation import Limits
from rpudriver.errors import (
    AllocationError,
    BackendError,
    CheckpointError,
    ConfigError,
    LimitError,
    NotArmedError,
    RpuDriverError,
    StepError,
    UnsupportedError,
)
from rpudriver.types import Array, Cell, Port, Pulse, PulseTrains, Read, ReadResult, Step, Wait
from tests.backends.reference_chip import uniform_trains

SHAPE = (4, 3)
PULSE_BITS = uniform_trains(SHAPE, [1, -1], bl=5)
X = torch.zeros(2, 3)


class Recorder(NullBackend):
    """A null chip that keeps what reaches `_execute`, and reads what it is told to."""

    def __init__(self, fingerprint: str = "recorder", **chip: Any) -> None:
        super().__init__(SimulatorOptions(chip=chip).load()[1], fingerprint)
        self.sent: list[Numbered] = []
        self.constant: dict[str, float] = {}

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        self.sent += steps
        results = super()._execute(steps)
        reads = [numbered.step for numbered in steps if isinstance(numbered.step, Read)]
        for read, result in zip(reads, results, strict=True):
            result.values.fill_(self.constant.get(read.terms[0][0].name, 0.0))
            result.saturated.fill_(read.terms[0][0].name == "saturated")
        return results


def armed(limits: Limits | None = None, **chip: Any) -> tuple[Recorder, Array]:
    backend = Recorder(**chip)
    backend.arm(limits)
    return backend, backend.allocate("A", *SHAPE)


def trains_with(**changes: Any) -> PulseTrains:
    parts = {name: getattr(PULSE_BITS, name) for name in ("x_words", "d_words", "x_negative", "d_negative", "bl")}
    return PulseTrains(**(parts | changes))


class TestArming:
    def test_nothing_is_sent_before_arm(self) -> None:
        chip = Recorder()
        array = chip.allocate("A", *SHAPE)
        for call in (
            lambda: chip.apply_pulses(array, PULSE_BITS),
            lambda: chip.read_matvec(array, X),
            lambda: chip.run([Wait(1.0)]),
        ):
            with pytest.raises(NotArmedError, match=r"arm\(\)"):
                call()
        assert chip.sent == []

    def test_idle_and_close_disarm(self) -> None:
        chip, array = armed()
        chip.idle()
        with pytest.raises(NotArmedError):
            chip.read_matvec(array, X)
        chip.arm()
        chip.read_matvec(array, X)
        chip.close()
        chip.close()
        chip.arm()
        with pytest.raises(NotArmedError, match="closed"):
            chip.read_matvec(array, X)

    def test_leaving_the_with_block_closes(self) -> None:
        with Recorder() as chip:
            chip.arm()
            assert chip.status().armed
        assert not chip.status().armed

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            (Limits(kinds=frozenset({"updaet"})), "did you mean 'update'"),
            (Limits(max_bl=1025), r"max_bl = 1025 must lie in \(0, 1024\]"),
            (Limits(max_bl=0), "max_bl = 0"),
            (Limits(max_input=1.5), "max_input = 1.5"),
            (Limits(max_input=float("nan")), "max_input = nan"),
            (Limits(max_device_pulses=-1), "max_device_pulses = -1"),
        ],
    )
    def test_limits_beyond_the_chip_are_refused(self, limits: Limits, message: str) -> None:
        chip = Recorder()
        with pytest.raises(LimitError, match=message):
            chip.arm(limits)
        assert not chip.status().armed


class TestLimits:
    @pytest.mark.parametrize(
        ("limits", "step"),
        [
            (Limits(kinds=frozenset({"update"})), lambda a: Pulse(a, uniform_trains(SHAPE, [1]), "set")),
            (Limits(max_bl=4), lambda a: Pulse(a, PULSE_BITS)),
            (Limits(max_device_pulses=9), lambda a: Pulse(a, PULSE_BITS)),
            (Limits(max_device_pulses=29), lambda a: Pulse(a, PULSE_BITS, repeat=3)),
            (Limits(max_input=0.5), lambda a: Read(((a, 1.0),), torch.full((1, 3), 0.6))),
        ],
    )
    def test_steps_beyond_the_armed_limits_are_refused(self, limits: Limits, step: Callable[[Array], Step]) -> None:
        chip, array = armed(limits)
        with pytest.raises(LimitError, match="step 0"):
            chip.run([step(array)])
        assert chip.sent == []
        chip.arm()
        chip.run([step(array)])
        assert len(chip.sent) == 1

    def test_at_the_limits_is_within(self) -> None:
        chip, array = armed(Limits(frozenset({"update"}), max_bl=5, max_input=0.5, max_device_pulses=30))
        chip.run([Pulse(array, PULSE_BITS, repeat=3), Read(((array, 1.0),), torch.full((1, 3), 0.5))])
        assert len(chip.sent) == 2


def late_bits() -> PulseTrains:
    return trains_with(bl=torch.tensor([5, 4]))


STRANGER = Array("stranger", 4, 3, Cell.SINGLE, ())
BAD: list[tuple[str, Callable[[Array], Any], type[RpuDriverError], str]] = [
    ("not a step", lambda a: "pulse", StepError, "str is not a step"),
    ("unknown array", lambda a: Pulse(STRANGER, PULSE_BITS), StepError, "not allocated"),
    ("wrong lines", lambda a: Pulse(a, uniform_trains((3, 4), [1])), StepError, "3 x 4 lines do not fit array 'A'"),
    ("no reference", lambda a: Pulse(a, PULSE_BITS, port=Port.REFERENCE), StepError, "single devices"),
    ("port by name", lambda a: Pulse(a, PULSE_BITS, port="device"), StepError, "Port.DEVICE"),  # type: ignore[arg-type]
    ("repeat 0", lambda a: Pulse(a, PULSE_BITS, repeat=0), StepError, "repeat = 0"),
    ("repeat 1.5", lambda a: Pulse(a, PULSE_BITS, repeat=1.5), StepError, "repeat = 1.5"),  # type: ignore[arg-type]
    ("unknown kind", lambda a: Pulse(a, PULSE_BITS, "updat"), StepError, "did you mean 'update'"),
    ("set goes up only", lambda a: Pulse(a, PULSE_BITS, "set"), StepError, "only goes up"),
    ("reset goes down only", lambda a: Pulse(a, PULSE_BITS, "reset"), StepError, "only goes down"),
    ("BL beyond the chip's", lambda a: Pulse(a, uniform_trains(SHAPE, [1], bl=1025)), LimitError, "BL = 1025.*1024"),
    ("bits beyond BL", lambda a: Pulse(a, late_bits()), StepError, "sample 1 fire beyond its BL of 4"),
    ("no terms", lambda a: Read((), X), StepError, "at least one"),
    ("weight NaN", lambda a: Read(((a, float("nan")),), X), StepError, "weight nan"),
    ("x too wide", lambda a: Read(((a, 1.0),), torch.zeros(2, 4)), StepError, r"float32 \[B, 3\]"),
    ("x transposed", lambda a: Read(((a, 1.0),), X, transposed=True), StepError, r"float32 \[B, 4\]"),
    ("x without samples", lambda a: Read(((a, 1.0),), torch.zeros(3)), StepError, r"float32 \[B, 3\]"),
    ("x in double", lambda a: Read(((a, 1.0),), X.double()), StepError, "float64"),
    ("x NaN", lambda a: Read(((a, 1.0),), X + float("nan")), StepError, "finite"),
    ("x infinite", lambda a: Read(((a, 1.0),), X + float("inf")), StepError, "finite"),
    ("x out of range", lambda a: Read(((a, 1.0),), X + 1.01), StepError, r"within \[-1, 1\]; the largest is 1.01"),
    ("negative wait", lambda a: Wait(-1.0), StepError, r"Wait\(-1.0\)"),
    ("endless wait", lambda a: Wait(float("inf")), StepError, "finite"),
]


class TestValidation:
    @pytest.mark.parametrize(("step", "error", "message"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
    def test_a_bad_third_step_leaves_everything_untouched(
        self, step: Callable[[Array], Any], error: type[RpuDriverError], message: str
    ) -> None:
        chip, array = armed()
        before = chip.snapshot()
        with pytest.raises(error, match=f"step 2.*{message}"):
            chip.run([Pulse(array, PULSE_BITS), Read(((array, 1.0),), X), step(array), Wait(1.0)])
        assert chip.sent == []
        assert chip.snapshot() == before

    def test_a_sum_needs_one_shape(self) -> None:
        chip, array = armed()
        other = chip.allocate("B", 4, 4)
        with pytest.raises(StepError, match=r"'B' is \(4, 4\), not \(4, 3\)"):
            chip.run([Read(((array, 1.0), (other, 1.0)), X)])

    def test_transposed_reads_only_where_the_chip_has_them(self) -> None:
        chip, array = armed(transposed_reads=False)
        with pytest.raises(UnsupportedError, match="no transposed reads"):
            chip.read_matvec(array, torch.zeros(1, 4), transposed=True)
        assert chip.read_matvec(array, X).values.shape == (2, 4)

    def test_kinds_of_one_polarity_take_their_own(self) -> None:
        chip, array = armed()
        chip.apply_pulses(array, uniform_trains(SHAPE, [1]), kind="set")
        chip.apply_pulses(array, uniform_trains(SHAPE, [-1]), kind="reset")
        silent = trains_with(
            d_words=torch.zeros(2, 4, 1, dtype=torch.int32).view(torch.uint32)
        )  # signs of lines that do not fire do not matter
        chip.apply_pulses(array, silent, kind="set")
        assert len(chip.sent) == 3

    def test_an_array_of_another_chip_is_unknown(self) -> None:
        chip, _ = armed()
        other = Recorder()
        other.allocate("B", *SHAPE)
        with pytest.raises(StepError, match="not allocated"):
            chip.read_matvec(other.allocate("A", *SHAPE), X)

    def test_late_bits_in_the_second_word(self) -> None:
        chip, array = armed()
        trains = uniform_trains(SHAPE, [1], bl=40)
        chip.apply_pulses(array, trains)
        short = PulseTrains(trains.x_words, trains.d_words, trains.x_negative, trains.d_negative, torch.tensor([39]))
        with pytest.raises(StepError, match="beyond its BL of 39"):
            chip.apply_pulses(array, short)


class TestTrains:
    @pytest.mark.parametrize(
        "changes",
        [
            {"x_words": torch.zeros(2, 3, 1)},
            {"x_words": torch.zeros(2, 3, dtype=torch.int32).view(torch.uint32)},
            {"d_words": torch.zeros(3, 4, 1, dtype=torch.int32).view(torch.uint32)},
            {"d_words": torch.zeros(2, 4, 2, dtype=torch.int32).view(torch.uint32)},
            {"x_negative": torch.zeros(2, 4, dtype=torch.bool)},
            {"d_negative": torch.zeros(2, 4)},
            {"bl": torch.tensor([5])},
            {"bl": torch.tensor([5, -1])},
            {"bl": torch.tensor([5, 33])},
            {"bl": torch.tensor([5.0, 5.0])},
            {"bl": torch.tensor([[5], [5]])},
        ],
    )
    def test_wrong_shapes_and_types_are_refused(self, changes: dict[str, torch.Tensor]) -> None:
        with pytest.raises(StepError):
            trains_with(**changes)

    def test_slices_are_trains(self) -> None:
        assert len(PULSE_BITS[1:2]) == 1
        assert bool(PULSE_BITS[1:2].d_negative.all())


class TestRunning:
    def test_steps_arrive_in_order_with_their_numbers(self) -> None:
        chip, a = armed()
        b = chip.allocate("B", *SHAPE)
        chip.run([Pulse(a, PULSE_BITS, repeat=3), Read(((a, 1.0), (b, 1.0)), X), Wait(2.0)])
        chip.run([Pulse(b, PULSE_BITS), Pulse(a, PULSE_BITS), Read(((b, 1.0),), X), Read(((a, 1.0),), X)])
        assert [numbered.first for numbered in chip.sent] == [0, 0, 0, 0, 6, 2, 2]
        assert [type(numbered.step) for numbered in chip.sent] == [Pulse, Read, Wait, Pulse, Pulse, Read, Read]

    def test_a_chip_that_cannot_sum_reads_one_by_one(self) -> None:
        chip, a = armed(summed_reads=False)
        b = chip.allocate("saturated", *SHAPE)
        chip.constant = {"A": 2.0, "saturated": 3.0}
        result, again = chip.run([Read(((a, 0.5), (b, -1.0)), X), Read(((a, 1.0),), X)])
        assert torch.equal(result.values, torch.full((2, 4), 0.5 * 2.0 - 3.0))
        assert bool(result.saturated.all())
        assert torch.equal(again.values, torch.full((2, 4), 2.0))
        assert not bool(again.saturated.any())
        assert all(numbered.step.terms[0][1] == 1.0 for numbered in chip.sent)  # type: ignore[union-attr]
        assert [numbered.first for numbered in chip.sent] == [0, 0, 2]
        assert chip.status().cost["reads"] == 6

    def test_a_single_weighted_array_is_weighted_where_the_chip_cannot(self) -> None:
        chip, a = armed(summed_reads=False)
        chip.constant = {"A": 2.0}
        assert torch.equal(chip.run([Read(((a, -0.5),), X)])[0].values, torch.full((2, 4), -1.0))
        assert [numbered.step.terms for numbered in chip.sent] == [((a, 1.0),)]  # type: ignore[union-attr]

    def test_a_backend_that_forgets_a_result_is_told_so(self) -> None:
        class Forgetful(Recorder):
            def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
                return []

        chip = Forgetful()
        chip.arm()
        with pytest.raises(BackendError, match="0 results for 1 reads"):
            chip.read_matvec(chip.allocate("A", *SHAPE), X)

    def test_status_tells_limits_arrays_and_cost(self) -> None:
        limits = Limits(max_bl=7)
        chip, array = armed(limits)
        chip.apply_pulses(array, PULSE_BITS)
        status = chip.status()
        assert (status.armed, status.limits, status.arrays) == (True, limits, (array,))
        assert status.cost["coincidences"] == 2 * 5 * 12
        assert status.cost["line_pulses"] == 2 * 5 * 7


class TestAllocation:
    def test_idempotent_by_name(self) -> None:
        chip = Recorder()
        assert chip.allocate("A", 4, 3) is chip.allocate("A", 4, 3)
        for arguments in ((3, 4), (4, 3, Cell.PAIR)):
            with pytest.raises(AllocationError, match="'A' exists as"):
                chip.allocate("A", *arguments)  # type: ignore[arg-type]

    @pytest.mark.parametrize("arguments", [("", 1, 1), ("B", 0, 3), ("B", 3, -1)])
    def test_names_and_sizes_must_be_something(self, arguments: tuple[str, int, int]) -> None:
        with pytest.raises(AllocationError):
            Recorder().allocate(*arguments)

    def test_too_large_for_any_array(self) -> None:
        with pytest.raises(AllocationError, match="larger than this chip's arrays of 8 x 6; split it into tiles"):
            Recorder(rows=8, columns=6).allocate("A", 9, 2)

    def test_what_does_not_fit_takes_nothing(self) -> None:
        chip = Recorder(rows=8, columns=8, arrays=2)
        chip.allocate("A", 8, 4)
        with pytest.raises(AllocationError, match=r"needs 2 rectangle\(s\) of 8 x 4, but only 1 fit"):
            chip.allocate("B", 8, 4, Cell.PAIR)
        assert chip.allocate("B", 8, 4).parts[0].array == 1

    def test_arrays_of_one_chip_share_no_line(self) -> None:
        chip = Recorder(rows=8, columns=8, arrays=2)
        first, second = chip.allocate("A", 3, 3, Cell.REFERENCE), chip.allocate("B", 2, 2)
        parts = [(part.array, part.row, part.column) for part in (*first.parts, *second.parts)]
        assert parts == [(0, 0, 0), (0, 3, 3), (0, 6, 6)]


class TestSnapshots:
    def test_another_version_is_refused(self) -> None:
        chip, _ = armed()
        snapshot = chip.snapshot()
        with pytest.raises(CheckpointError, match=r"version 99, this code reads \d"):
            chip.restore(snapshot | {"version": 99})

    def test_another_chip_is_refused_and_nothing_changes(self) -> None:
        snapshot = Recorder("one").snapshot()
        chip = Recorder("two")
        chip.arm()
        array = chip.allocate("A", *SHAPE)
        chip.apply_pulses(array, PULSE_BITS)
        before = chip.snapshot()
        with pytest.raises(CheckpointError, match="'one', this chip is 'two'"):
            chip.restore(snapshot)
        assert chip.snapshot() == before

    def test_another_shape_or_cell_is_refused_before_anything_changes(self) -> None:
        chip = Recorder()
        chip.allocate("filler", 4, 3)
        chip.allocate("new", 2, 2)
        chip.allocate("A", 4, 3, Cell.PAIR)
        other = Recorder()
        other.allocate("A", 4, 3)
        with pytest.raises(CheckpointError, match=r"pair cells, the chip has .* single cells"):
            other.restore(chip.snapshot(["new", "A"]))
        assert [array.name for array in other.status().arrays] == ["A"]

    def test_lines_in_use_are_refused(self) -> None:
        chip, other = Recorder(), Recorder()
        chip.allocate("A", 4, 3)
        other.allocate("B", 4, 3)
        with pytest.raises(CheckpointError, match="'A' on lines that other arrays"):
            other.restore(chip.snapshot())

    def test_a_fresh_chip_gets_arrays_counters_and_cost(self) -> None:
        chip, array = armed()
        chip.run([Pulse(array, PULSE_BITS), Read(((array, 1.0),), X)])
        fresh = Recorder()
        fresh.restore(chip.snapshot())
        assert fresh.snapshot() == chip.snapshot()
        assert fresh.allocate("A", *SHAPE) == array
        assert fresh.allocate("B", 2, 2).parts[0].row == 4  # beside what was restored
        fresh.arm()
        fresh.apply_pulses(array, PULSE_BITS)
        assert fresh.sent[0].first == 2

    def test_unknown_names_get_a_suggestion(self) -> None:
        chip, _ = armed()
        with pytest.raises(StepError, match="no array 'a1' on this chip; known: A"):
            chip.snapshot(["a1"])


class TestIdentity:
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_chips_are_neither_copied_nor_pickled(self, duplicate: Callable[[Any], Any]) -> None:
        with pytest.raises(ConfigError, match="snapshot"):
            duplicate(Recorder())

    @pytest.mark.parametrize("name", ["run", "apply_pulses", "read_matvec", "allocate", "snapshot", "restore"])
    def test_final_methods_stay_final(self, name: str) -> None:
        with pytest.raises(TypeError, match=f"must not override {name}"):
            type("Wrong", (NullBackend,), {name: lambda self: None})

    def test_the_base_class_is_abstract(self) -> None:
        with pytest.raises(TypeError, match="_execute"):
            CrossbarBackend(Recorder().capabilities, "x")  # type: ignore[abstract]
