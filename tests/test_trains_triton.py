"""Trains of a batch on a CUDA device are those of the CPU, bit for bit: integers drawn from the same thresholds."""

import pytest
import torch

from rpudriver import trains
from rpudriver.backends.counting import tally
from rpudriver.errors import StepError
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import PulseTrains
from tests.interpreted import triton_device

DEVICE = triton_device()

from rpudriver.backends.simulated.triton import fused  # noqa: E402  (after the skip where Triton is absent)
from rpudriver.keyed import gpu_trains  # noqa: E402

FIELDS = ("x_words", "d_words", "x_negative", "d_negative", "bl")


def drawn(x: torch.Tensor, d: torch.Tensor, max_bl: int, managed: bool = True, first: int = 2**33) -> PulseTrains:
    source, managed_so = TrainSource(2**64 - 3, "t"), {"update_management": managed, "bl_management": managed}
    return draw_trains(x, d, lr=0.2, dw_min=0.003, max_bl=max_bl, source=source, first=first, **managed_so)


def some(samples: int, n_in: int, n_out: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(samples, n_in, generator=g).double(), torch.randn(samples, n_out, generator=g).double()


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("max_bl", [5, 31, 32, 70])
def test_trains_through_triton(max_bl: int, managed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partly filled block of lines, probabilities 0 and 1, negative zeros, a sample that fires nothing."""
    x, d = some(3, 70, 9, max_bl)
    x[0, :3], x[0, 3], x[1] = torch.tensor([0.0, -0.0, 2.0**-100]), 100.0, 0.0
    expected = drawn(x, d, max_bl, managed)
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    for dtype in (torch.float64, torch.float32):  # x holds float32 numbers
        found = drawn(x.to(DEVICE, dtype), d.to(DEVICE), max_bl, managed)
        for name in FIELDS:
            assert torch.equal(getattr(found, name).cpu(), getattr(expected, name)), name
    assert expected.x_words.any()
    assert not expected.x_words[1].any()


def test_no_value_is_rounded_to_the_other_side_s_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """lr x d / dw_min lies just below 3, and above it were d rounded to float32."""
    x, d = torch.ones(1, 5), torch.full((1, 4), 0.045 * (1 - 1e-12), dtype=torch.float64)
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    assert drawn(x.to(DEVICE), d.to(DEVICE), 31).bl.tolist() == [3]
    assert drawn(d.to(DEVICE), x.to(DEVICE), 31).bl.tolist() == [3]
    assert drawn(x.to(DEVICE), d.float().to(DEVICE), 31).bl.tolist() == [4]


def test_words_that_no_train_needs_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x, d = some(2, 5, 4)
    expected = drawn(0.01 * x, d, 70)
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    found = drawn((0.01 * x).to(DEVICE), d.to(DEVICE), 70)
    assert found.x_words.shape == expected.x_words.shape == (2, 5, 1)
    assert torch.equal(found.x_words.cpu(), expected.x_words)


@pytest.mark.parametrize(("side", "value"), [("x", float("nan")), ("d", float("-inf"))])
def test_what_is_not_finite_is_named(side: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x, d = some(3, 5, 4)
    (x if side == "x" else d)[2, 1] = value
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    with pytest.raises(StepError, match=f"{side} of sample 2 holds NaN or infinity"):
        drawn(x.to(DEVICE), d.to(DEVICE), 31)


def test_no_samples_give_no_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    found = drawn(torch.zeros(0, 5, device=DEVICE), torch.zeros(0, 4, device=DEVICE), 31)
    assert found.x_words.shape == (0, 5, 1)


@pytest.mark.parametrize(("max_bl", "late"), [(31, ""), (32, ""), (70, ""), (31, "x_words"), (31, "d_words")])
def test_the_tally_is_that_of_the_cpu(max_bl: int, late: str) -> None:
    """Of trains of mixed signs, of one sign, of none at all, and with a slot above the bit length."""
    x, d = some(4, 70, 9, max_bl)
    x[1], d[1], x[2], d[3] = x[1].abs(), d[1].abs(), 0.0, -d[3].abs()
    expected = drawn(x, d, max_bl)
    work = fused.Workspace(4, 70, 9, expected.x_words.shape[2], DEVICE)
    if late:
        getattr(expected, late).view(torch.int32)[3, 5] |= -(2**31)  # slot 31, which no BL up to 31 reaches
    for to, name in zip(work.drawn, FIELDS[:4], strict=False):
        source = getattr(expected, name)
        to.copy_(source.view(torch.uint8 if source.dtype is torch.bool else torch.int32))
    work.drawn.facts.zero_()
    work.drawn.facts[:, 0] = expected.bl.to(DEVICE)
    gpu_trains.look_through(work.drawn)
    good, found = work.facts()
    assert good
    assert found == tally(expected)
    assert found.late == (3 if late else -1)
