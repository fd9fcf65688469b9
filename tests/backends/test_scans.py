"""A scan is the pulses and one-hot reads that it stands for: in results, states, numbers and cost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.null import NullBackend
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.backends.validation import Limits
from rpudriver.errors import LimitError, RpuDriverError, StepError
from rpudriver.types import Array, Cell, Port, Pulse, PulseTrains, Read, ReadResult, Scan, Step
from tests.backends.reference_chip import random_trains, uniform_trains

SHAPE = (5, 4)
NOISY = {"input_noise": 0.01, "weight_noise": 0.02, "output_noise": 0.03}
PLACES = {
    "between": [2, 2, 5, 6, 6],
    "before the first": [0, 0, 3],
    "after the last": [7, 7],
    "everywhere": [0, 1, 1, 2, 3, 4, 5, 6, 7],
    "nowhere": [],
}


def scan_of(array: Array, trains: PulseTrains, columns: Sequence[int], after: Sequence[int], **rest: Any) -> Scan:
    return Scan(array, trains, torch.tensor(columns, dtype=torch.long), torch.tensor(after, dtype=torch.long), **rest)


def spelled_out(scan: Scan) -> list[Step]:
    """One pulse of one sample and one read of one vector after the other."""
    reads = list(zip(scan.after.tolist(), scan.columns.tolist(), strict=True))
    steps: list[Step] = []
    for place in range(len(scan.trains) + 1):
        for _, column in (read for read in reads if read[0] == place):
            one_hot = torch.zeros(1, scan.array.n_in)
            one_hot[0, column] = scan.amplitude
            steps.append(Read(((scan.array, 1.0),), one_hot))
        if place < len(scan.trains):
            steps.append(Pulse(scan.array, scan.trains[place : place + 1], scan.kind))
    return steps


def armed(name: str, cell: Cell, read: dict[str, float] | None = None) -> tuple[CrossbarBackend, Array]:
    chip = make(name, preset="asymmetric-100", seed=3, read=NOISY if read is None else read)
    chip.arm()
    array = chip.allocate("A", *SHAPE, cell)
    chip.run([Pulse(array, random_trains(SHAPE, 3, 20, seed=9)), Read(((array, 1.0),), torch.ones(2, 4))])
    return chip, array


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("cell", list(Cell), ids=lambda cell: cell.value)
@pytest.mark.parametrize("name", ["reference", "simulated"])
def test_a_scan_is_what_it_stands_for_bit_for_bit(name: str, cell: Cell, places: list[int]) -> None:
    """Results, states, counters; and the next step goes on alike."""
    found = []
    for spell in (False, True):
        chip, array = armed(name, cell)
        trains = random_trains(SHAPE, 7, 31, seed=1, density=0.4)
        scan = scan_of(array, trains, [(3 * r + 1) % 4 for r in range(len(places))], places, amplitude=0.7)
        results = chip.run(spelled_out(scan) if spell else [scan])
        values = torch.cat([torch.zeros(0, 5), *(result.values for result in results)])
        saturated = torch.cat([torch.zeros(0, 5) > 0, *(result.saturated for result in results)])
        last = chip.run([Pulse(array, trains[:2]), Read(((array, 1.0),), torch.ones(1, 4))])[0].values
        assert values.shape == saturated.shape == (len(places), 5)
        found.append((values, saturated, last, chip.snapshot()))
    whole, parts = found
    assert all(torch.equal(a, b) for a, b in zip(whole[:3], parts[:3], strict=True))
    entry, other = whole[3]["arrays"]["A"], parts[3]["arrays"]["A"]
    assert (entry["samples"], entry["vectors"]) == (other["samples"], other["vectors"]) == (12, 3 + len(places))
    assert entry["state"].keys() == other["state"].keys()
    assert all(torch.equal(entry["state"][key], other["state"][key]) for key in entry["state"])


class Recorder(NullBackend):
    """Keeps what reaches `_execute`; takes no scans."""

    takes_scans = False

    def __init__(self, **chip: Any) -> None:
        super().__init__(SimulatorOptions(chip=chip).load()[1], "recorder")
        self.sent: list[Numbered] = []
        self.arm()
        self.array = self.allocate("A", *SHAPE)

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        self.sent += steps
        return super()._execute(steps)


class Native(Recorder):
    """Takes scans; vector r reads as r."""

    takes_scans = True

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        self.sent += steps
        counts = [len(n.step.columns) for n in steps if isinstance(n.step, Scan)]
        return [ReadResult(v, v < 0) for v in (torch.arange(count).float()[:, None] for count in counts)]


def test_a_backend_that_takes_scans_gets_them_whole_with_both_numbers() -> None:
    chip = Native()
    scan = scan_of(chip.array, random_trains(SHAPE, 6, 10, seed=1), [0, 2, 2], [1, 1, 4])
    first, second = chip.run([scan, scan])
    assert [(n.step, n.first, n.vector) for n in chip.sent] == [(scan, 0, 0), (scan, 6, 3)]
    assert first.values[:, 0].tolist() == second.values[:, 0].tolist() == [0.0, 1.0, 2.0]


def test_others_get_pulses_and_reads_with_their_numbers() -> None:
    chip = Recorder()
    scan = scan_of(chip.array, random_trains(SHAPE, 6, 10, seed=1), [0, 2, 2], [1, 1, 4], amplitude=0.5)
    chip.run([scan, scan])
    kinds = [(type(n.step), n.first) for n in chip.sent]
    once = [(Pulse, 0), (Read, 0), (Pulse, 1), (Read, 2), (Pulse, 4)]
    assert kinds == once + [(kind, first + (6 if kind is Pulse else 3)) for kind, first in once]
    assert isinstance(chip.sent[1].step, Read)
    assert torch.equal(chip.sent[1].step.x, torch.tensor([[0.5, 0, 0, 0], [0, 0, 0.5, 0]]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=8), st.integers(0, 99))
def test_a_scan_costs_what_it_stands_for(samples: int, reads: list[tuple[int, int]], seed: int) -> None:
    costs = []
    after = sorted(min(place, samples) for place, _ in reads)
    for native, spell in ((False, False), (True, False), (False, True)):
        chip = (Native if native else Recorder)()
        scan = scan_of(chip.array, random_trains(SHAPE, samples, 40, seed), [c for _, c in reads], after)
        chip.run(spelled_out(scan) if spell else [scan])
        costs.append(chip.status().cost)
    assert costs[0] == costs[1]
    assert costs[2] == pytest.approx(costs[0], rel=1e-9)  # the seconds and joules are added up in another order


TRAINS = uniform_trains(SHAPE, [1, -1], bl=5)
BAD: dict[str, tuple[Callable[[Array], Scan], type[RpuDriverError], str]] = {
    "unknown array": (lambda a: scan_of(replace(a, name="B"), TRAINS, [0], [1]), StepError, "not allocated"),
    "wrong lines": (lambda a: scan_of(a, uniform_trains((4, 5), [1]), [0], [1]), StepError, "4 x 5 lines do not fit"),
    "unknown kind": (lambda a: scan_of(a, TRAINS, [0], [1], kind="updat"), StepError, "did you mean 'update'"),
    "set goes up only": (lambda a: scan_of(a, TRAINS, [0], [1], kind="set"), StepError, "only goes up"),
    "long": (lambda a: scan_of(a, uniform_trains(SHAPE, [1], bl=1025), [0], [1]), LimitError, "BL = 1025.*1024"),
    "late bits": (
        lambda a: scan_of(a, replace(TRAINS, bl=torch.tensor([5, 4])), [0], [1]),
        StepError,
        "sample 1 fire beyond its BL of 4",
    ),
    "column beyond": (lambda a: scan_of(a, TRAINS, [0, 4], [1, 1]), StepError, r"\[0, 3\]; got \[0, 4\]"),
    "column negative": (lambda a: scan_of(a, TRAINS, [-1], [1]), StepError, r"columns .* got \[-1\]"),
    "after beyond": (lambda a: scan_of(a, TRAINS, [0], [3]), StepError, r"after .*\[0, 2\].* got \[3\]"),
    "after negative": (lambda a: scan_of(a, TRAINS, [0], [-1]), StepError, r"after .* got \[-1\]"),
    "after falls": (lambda a: scan_of(a, TRAINS, [0, 0], [2, 1]), StepError, r"after must not fall"),
    "lengths differ": (lambda a: scan_of(a, TRAINS, [0, 1], [2]), StepError, "2 columns and 1 places"),
    "columns in float": (lambda a: replace(scan_of(a, TRAINS, [0], [1]), columns=torch.zeros(1)), StepError, "int64"),
    "after in 2 dims": (
        lambda a: replace(scan_of(a, TRAINS, [0], [1]), after=torch.ones(1, 1).long()),
        StepError,
        r"after must be int64 \[R\] on the CPU; got torch.int64 \[1, 1\]",
    ),
    "columns elsewhere": (
        lambda a: replace(scan_of(a, TRAINS, [0], [1]), columns=torch.zeros(1, dtype=torch.long, device="meta")),
        StepError,
        "on meta",
    ),
    "too high": (lambda a: scan_of(a, TRAINS, [0], [1], amplitude=1.5), StepError, r"amplitude = 1.5 .*\(0, 1\]"),
    "zero": (lambda a: scan_of(a, TRAINS, [0], [1], amplitude=0.0), StepError, "amplitude = 0.0"),
    "NaN": (lambda a: scan_of(a, TRAINS, [0], [1], amplitude=float("nan")), StepError, "amplitude = nan"),
}


@pytest.mark.parametrize(("scan", "error", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_scan_leaves_everything_untouched(
    scan: Callable[[Array], Scan], error: type[RpuDriverError], message: str
) -> None:
    chip = Recorder()
    before = chip.snapshot()
    with pytest.raises(error, match=f"step 1.*{message}"):
        chip.run([Pulse(chip.array, TRAINS), scan(chip.array)])
    assert chip.sent == []
    assert chip.snapshot() == before


@pytest.mark.parametrize(
    "limits",
    [Limits(max_input=0.5), Limits(max_bl=4), Limits(max_device_pulses=9), Limits(kinds=frozenset({"set"}))],
    ids=str,
)
def test_scans_keep_to_the_armed_limits(limits: Limits) -> None:
    chip = Recorder()
    scan = scan_of(chip.array, TRAINS, [0], [1], amplitude=0.6)
    chip.arm(limits)
    with pytest.raises(LimitError, match="step 0"):
        chip.run([scan])
    assert chip.sent == []
    chip.arm(Limits(max_input=0.6, max_bl=5, max_device_pulses=10, kinds=frozenset({"update"})))
    assert chip.run([scan])[0].values.shape == (1, 5)


def test_what_is_allowed_follows_arming() -> None:
    chip = Recorder(input_bound=0.8)
    assert chip.allowed == (1024, 0.8)
    chip.arm(Limits(max_bl=7, max_input=0.25))
    assert chip.allowed == (7, 0.25)
    chip.idle()
    assert chip.allowed == (1024, 0.8)


def test_pulses_of_a_scan_reach_the_device_not_its_reference() -> None:
    chip, array = armed("simulated", Cell.REFERENCE)
    before = chip.snapshot()["arrays"]["A"]["state"]
    chip.run([scan_of(array, TRAINS[:1], [0], [0])])
    after = chip.snapshot()["arrays"]["A"]["state"]
    assert torch.equal(before["reference/hidden"], after["reference/hidden"])
    assert not torch.equal(before[f"{Port.DEVICE.value}/hidden"], after[f"{Port.DEVICE.value}/hidden"])
