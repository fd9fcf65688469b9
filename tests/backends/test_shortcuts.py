"""What a chip may do in a way of its own is what its steps say: results, states, numbers and cost, bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.backends.simulated import fused, native
from rpudriver.backends.simulated.kernels.calls import call_sparse
from rpudriver.backends.updates import NOWHERE, Drawing, Places, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import LimitError, NotArmedError, RpuDriverError, StepError
from rpudriver.keyed import threads
from rpudriver.reading import managed_reads
from rpudriver.trains import TrainSource
from rpudriver.types import Array, Cell

SHAPE = (40, 70)  # rows and columns: more than a vector register, and no multiple of one
SOME = Places(np.array([3, 69, 0, 3]), np.array([0, 2, 2, 5]))
NOISY = {"weight_noise": 0.02, "output_noise": 0.03}
RESPONSES: list[dict[str, Any]] = [{"family": "soft-bounds"}, {"family": "power", "tau": 0.6}, {"family": "constant"}]


def chip(cell: Cell = Cell.SINGLE, limits: Limits | None = None, **options: Any) -> tuple[CrossbarBackend, Array]:
    backend = make("simulated", preset="asymmetric-100", seed=3, **{"read": NOISY, **options})
    backend.arm(limits)
    return backend, backend.allocate("A", *SHAPE, cell)


def update(array: Array, samples: int = 5, reads: Places = NOWHERE, **drawing: Any) -> Update:
    draw = torch.Generator().manual_seed(7)
    x, d = torch.randn(samples, SHAPE[1], generator=draw), torch.randn(samples, SHAPE[0], generator=draw)
    given = Drawing(0.01, 0.001, 31, True, True)._replace(**drawing)
    return Update(array, x, d, given, TrainSource(5, "A/trains"), 11, reads)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Yield a list that gets an entry for every update that is done in one go."""
    calls, real = [], fused.apply

    def spy(*given: Any) -> Any:
        calls.append(1)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(fused, "apply", spy)
        yield calls


def assert_same(one: CrossbarBackend, other: CrossbarBackend) -> None:
    """Compare states, counters and cost."""
    first, second = one.snapshot(), other.snapshot()
    assert first["cost"] == second["cost"]
    for name, entry in first["arrays"].items():
        again = second["arrays"][name]
        assert (entry["samples"], entry["vectors"]) == (again["samples"], again["vectors"])
        for key, value in entry["state"].items():
            assert torch.equal(value, again["state"][key]), key


@pytest.mark.parametrize("reads", [NOWHERE, SOME], ids=["nothing read", "columns read"])
@pytest.mark.parametrize("cell", [Cell.SINGLE, Cell.REFERENCE], ids=lambda cell: cell.value)
@pytest.mark.parametrize("response", RESPONSES, ids=lambda response: response["family"])
@pytest.mark.parametrize(
    "drawing",
    [{}, {"lr": 1e-5}, {"lr": 3.0}, {"max_bl": 100, "bl_management": False}, {"update_management": False}],
    ids=["usual", "sparse", "dense", "several words", "unmanaged"],
)
def test_an_update_is_its_step(
    monkeypatch: pytest.MonkeyPatch, reads: Places, cell: Cell, response: dict[str, Any], drawing: dict[str, Any]
) -> None:
    device = {"response": response, "write_noise": 0.1}
    (one, array), (other, again) = (chip(cell, device=device) for _ in range(2))
    with counted(monkeypatch) as calls:
        for _ in range(2):  # the second goes on from the numbers of the first
            values = one.update(update(array, reads=reads, **drawing))
            results = other.run([update(again, reads=reads, **drawing).step()])
            assert torch.equal(values, results[0].values if results else torch.zeros(0, SHAPE[0]))
    assert len(calls) == 2
    assert_same(one, other)


@pytest.mark.parametrize(
    ("cell", "options", "samples"),
    [
        (Cell.PAIR, {}, 5),
        (Cell.SINGLE, {"read": {"input_noise": 0.01}}, 5),
        (Cell.SINGLE, {}, 65),
    ],
    ids=["pairs", "input noise", "many samples"],
)
def test_what_has_no_short_way_is_done_step_by_step(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, options: dict[str, Any], samples: int
) -> None:
    (one, array), (other, again) = (chip(cell, **options) for _ in range(2))
    with counted(monkeypatch) as calls:
        values = one.update(update(array, samples, SOME))
    assert not calls
    assert torch.equal(values, other.run([update(again, samples, SOME).step()])[0].values)
    assert_same(one, other)


@pytest.mark.parametrize("drawing", [{"lr": 1e-4}, {"lr": 3.0}], ids=["sparse", "dense"])
def test_a_kernel_is_called_by_its_address_once_it_is_compiled(
    monkeypatch: pytest.MonkeyPatch, drawing: dict[str, Any]
) -> None:
    """Unless it is worth more threads; what comes of it is the same."""
    (one, array), (other, again) = chip(), chip()
    first = update(array, reads=SOME, **drawing)
    one.update(first), other.update(first._replace(array=again))  # the kernel is compiled
    with monkeypatch.context() as patch:
        patch.setattr(native, "apply_cut", pytest.fail)
        read = one.update(first)
    with monkeypatch.context() as patch:
        calls, real = [], native.apply_cut
        patch.setattr(native, "apply_cut", lambda *given: (calls.append(1), real(*given)))
        patch.setattr(threads, "WORTH_A_THREAD", 1e3)
        patch.setattr(fused, "NANOSECONDS", 0.0)  # of drawing trains
        patch.setattr(torch, "get_num_threads", lambda: 3)
        again_read = other.update(first._replace(array=again))
    assert len(calls) == 1
    assert torch.equal(read, again_read)
    assert_same(one, other)


def test_a_call_by_address_checks_types_before_there_is_code() -> None:
    with pytest.raises(numba.TypingError, match="a compiled function takes"):
        _call_with_too_few(np.uint64(0), 1)


@numba.njit
def _call_with_too_few(address: Any, row: Any) -> None:
    call_sparse(address, (row, row))


def test_an_interrupted_update_leaves_no_sum_of_weights_that_was_kept_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may be heard between the devices' moves and the next line."""
    backend, array = chip(Cell.REFERENCE, read={"output_noise": 0.0, "weight_noise": 0.0})
    x, real = torch.ones(1, SHAPE[1]), fused.run
    backend.update(update(array))
    before = backend.read_matvec(array, x).values

    def interrupted(*given: Any) -> Any:
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(fused, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        backend.update(update(array, lr=3.0))
    assert not torch.equal(backend.read_matvec(array, x).values, before)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_places_that_must_not_be_written_to_are_taken() -> None:
    (one, array), (other, again) = chip(), chip()
    for values in (held := Places(*[values.copy() for values in SOME])):
        values.flags.writeable = False
    assert torch.equal(one.update(update(array, reads=held)), other.update(update(again, reads=SOME)))
    assert_same(one, other)


def test_views_are_taken_as_what_they_say() -> None:
    (one, array), (other, again) = chip(), chip()
    wide = torch.randn(6, 200, generator=torch.Generator().manual_seed(1))
    views = (wide[:, 30:100], wide[:1, 30:100].expand(6, 70), wide[:, 20:160:2], torch._neg_view(wide[:, :70]))
    for view in views:
        one.update(update(array, 6)._replace(x=view))
        other.run([update(again, 6)._replace(x=view.clone(memory_format=torch.contiguous_format).resolve_neg()).step()])
    assert_same(one, other)


@pytest.mark.parametrize(
    ("change", "limits", "error", "message"),
    [
        ({"x": torch.full((5, 70), torch.nan)}, None, StepError, "x of sample 0 holds NaN"),
        ({"d": torch.full((5, 40), torch.inf)}, None, StepError, "d of sample 0 holds NaN"),
        ({"x": torch.ones(5, 71)}, None, StepError, "do not fit array"),
        ({"reads": Places(np.array([70]), np.array([0]))}, None, StepError, r"columns must lie in \[0, 69\]"),
        ({"reads": Places(np.array([0, 1]), np.array([3, 2]))}, None, StepError, "after must not fall"),
        ({"reads": SOME, "amplitude": 1.5}, None, StepError, "amplitude"),
        ({"reads": SOME}, Limits(max_input=0.5), LimitError, "amplitude"),
        ({"drawing": Drawing(-1.0, 0.001, 31, True, True)}, None, StepError, "need lr"),
        ({}, Limits(max_bl=4), LimitError, "BL = "),
        ({}, Limits(max_device_pulses=9), LimitError, "9 are armed"),
        ({}, Limits(kinds=frozenset({"set"})), LimitError, "'update' is not armed"),
    ],
    ids=lambda value: None if isinstance(value, (dict, Limits, type)) else value,
)
def test_what_is_wrong_is_refused_as_a_step_would_be_and_nothing_is_sent(
    change: dict[str, Any], limits: Limits | None, error: type[RpuDriverError], message: str
) -> None:
    backend, array = chip(limits=limits)
    before = backend.snapshot()
    with pytest.raises(error, match=message):
        backend.update(update(array)._replace(**change))
    after = backend.snapshot()
    assert before["cost"] == after["cost"]
    assert torch.equal(before["arrays"]["A"]["state"]["device/hidden"], after["arrays"]["A"]["state"]["device/hidden"])


def test_a_chip_that_is_not_armed_takes_neither() -> None:
    backend, array = chip()
    backend.idle()
    with pytest.raises(NotArmedError):
        backend.update(update(array))
    with pytest.raises(NotArmedError):
        backend.normalised_reads([(((array, 1.0),), torch.ones(1, 70))])


def test_a_polarity_that_a_kind_lacks_is_refused() -> None:
    upwards = {"volts_up": 1.0, "volts_down": -1.0, "width_s": 1e-6, "polarity": "up"}
    backend, array = chip(chip={"kinds": {"update": upwards}})
    with pytest.raises(StepError, match="only goes up"):
        backend.update(update(array))
    backend.update(update(array)._replace(x=torch.ones(5, 70), d=torch.ones(5, 40)))


# ---- reads ----------------------------------------------------------------------------------------------------------


def pairs_of_jobs(vectors: int, transposed: bool) -> list[torch.Tensor]:
    """Two inputs: one as it comes, one of vectors of very different size, a view."""
    lines, draw = SHAPE[0] if transposed else SHAPE[1], torch.Generator().manual_seed(9)
    wide = torch.randn(vectors, lines + 9, generator=draw) * torch.logspace(-20, 3, vectors)[:, None]
    return [torch.randn(vectors, lines, generator=draw), wide[:, 4 : lines + 4]]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("vectors", [1, 2, 3, 16, 17])
@pytest.mark.parametrize("bound", [12.0, 1.5, 0.0], ids=["in range", "saturating", "unbounded"])
def test_normalised_reads_are_managed_reads(
    monkeypatch: pytest.MonkeyPatch, vectors: int, transposed: bool, bound: float
) -> None:
    found = []
    for short in (True, False):
        backend, a = chip(Cell.REFERENCE, chip={"output_bound": bound})
        b = backend.allocate("B", *SHAPE)
        for array in (a, b):
            backend.update(update(array, lr=3.0))
        if not short:
            monkeypatch.setattr(type(backend), "_normalised", CrossbarBackend._normalised)
        terms = (((a, 1.0),), ((b, 0.5), (a, -2.0)))
        outs = []
        for k in range(2):
            x = pairs_of_jobs(vectors, transposed)
            outs += managed_reads(backend, [(terms[k], x[k])], transposed=transposed)
        others = backend.allocate("C", *SHAPE), backend.allocate("D", *SHAPE)
        jobs = [(((array, 1.0),), x) for array, x in zip(others, pairs_of_jobs(vectors, transposed), strict=True)]
        found.append((outs + managed_reads(backend, jobs, transposed=transposed), backend))
    (short_outs, one), (plain_outs, other) = found
    for mine, expected in zip(short_outs, plain_outs, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=0)
    assert_same(one, other)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nothing_is_sent_where_a_later_job_is_bad(bad: float) -> None:
    backend, array = chip()
    b = backend.allocate("B", *SHAPE)
    x = torch.ones(2, SHAPE[1])
    spoilt = x.clone()
    spoilt[1, 5] = bad
    with pytest.raises(StepError, match="finite"):
        managed_reads(backend, [(((array, 1.0),), x), (((b, 1.0),), spoilt)])
    assert backend.status().cost["reads"] == 0


def test_jobs_that_share_an_array_are_numbered_one_after_the_other() -> None:
    (one, array), (other, again) = chip(), chip()
    x = torch.ones(3, SHAPE[1])
    together = managed_reads(one, [(((array, 1.0),), x)] * 2)
    apart = [managed_reads(other, [(((again, 1.0),), x)])[0] for _ in range(2)]
    for mine, expected in zip(together, apart, strict=True):
        assert torch.equal(mine, expected)
    assert_same(one, other)
