"""A mini-batch that never leaves the GPU, next to the same mini-batch on the CPU."""

from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated import native
from rpudriver.backends.simulated import update as dispatch
from rpudriver.backends.updates import Drawing, Places, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import LimitError, StepError
from rpudriver.trains import TrainSource
from rpudriver.types import Array, Cell
from tests.interpreted import triton_device

DEVICE = triton_device()

from rpudriver.backends.simulated.triton import fused  # noqa: E402  (after the skip where Triton is absent)

SHAPE = (5, 9)
DRAWING = Drawing(0.3, 0.01, 12, True, True)
READS = Places(np.array([4, 0, 4]), np.array([0, 2, 3]))


@pytest.fixture
def on_triton(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let the chips that are made from now on work in Triton; return what `fused.apply` gave."""
    given: list[object] = []
    apply = fused.apply
    monkeypatch.setattr(native, "has_kernel", lambda bank: False)
    monkeypatch.setattr(dispatch, "available", lambda tensor: True)

    def noting(*arguments: Any) -> Any:
        given.append(apply(*arguments))
        return given[-1]

    monkeypatch.setattr(fused, "apply", noting)
    return given


def chip_and_array(where: str, cell: Cell, limits: Limits | None = None) -> tuple[CrossbarBackend, Array]:
    device = {"c2c": 0.3, "write_noise": 0.5}
    chip = make("simulated", preset="asymmetric-100", seed=3, device=device, torch_device=where)
    chip.arm(limits)
    return chip, chip.allocate("W", *SHAPE, cell)


def update_of(array: Array, where: torch.device, first: int, reads: Places | None = None) -> Update:
    g = torch.Generator().manual_seed(first)
    x, d = torch.randn(3, SHAPE[1], generator=g), torch.randn(3, SHAPE[0], generator=g)
    more = () if reads is None else (reads, 0.5)
    return Update(array, x.to(where), d.to(where), DRAWING, TrainSource(7, "t"), first, *more)


@pytest.mark.parametrize("cell", [Cell.SINGLE, Cell.REFERENCE])
def test_a_mini_batch_is_that_of_the_cpu(cell: Cell, request: pytest.FixtureRequest) -> None:
    """Weights, what is read on the way, and what the meter counted, over two mini-batches."""
    slow, slow_array = chip_and_array("cpu", cell)
    expected = [slow.update(update_of(slow_array, torch.device("cpu"), 3 * k, READS)) for k in range(2)]
    slow.update(update_of(slow_array, torch.device("cpu"), 6))
    given = request.getfixturevalue("on_triton")
    fast, fast_array = chip_and_array(DEVICE.type, cell)
    found = [fast.update(update_of(fast_array, DEVICE, 3 * k, READS)) for k in range(2)]
    nothing = fast.update(update_of(fast_array, DEVICE, 6))
    assert nothing.shape == (0, SHAPE[0])
    assert len(given) == 3
    assert None not in given
    weights = [oracle(chip).true_weights(array).cpu() for chip, array in ((slow, slow_array), (fast, fast_array))]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=0)
    assert weights[0].abs().max() > 0.01
    c = fast.capabilities
    assert c.output_bound
    assert c.output_bits
    step = c.output_bound / (2 ** (c.output_bits - 1) - 1)  # a value beside a boundary may fall to either side of it
    torch.testing.assert_close(torch.cat(found).cpu(), torch.cat(expected), atol=1.01 * step, rtol=0)
    assert fast.status().cost == slow.status().cost


def test_trains_out_of_bounds_move_nothing(on_triton: list[object]) -> None:
    chip, array = chip_and_array(DEVICE.type, Cell.SINGLE, Limits(max_device_pulses=2))
    before = oracle(chip).true_weights(array).cpu()
    with pytest.raises(LimitError):
        chip.update(update_of(array, DEVICE, 0))
    assert on_triton == [None]
    assert torch.equal(oracle(chip).true_weights(array).cpu(), before)


def test_what_is_not_finite_moves_nothing(on_triton: list[object]) -> None:
    chip, array = chip_and_array(DEVICE.type, Cell.SINGLE)
    before, update = oracle(chip).true_weights(array).cpu(), update_of(array, DEVICE, 0)
    update.d[1, 2] = float("nan")
    with pytest.raises(StepError, match="d of sample 1 holds NaN or infinity"):
        chip.update(update)
    assert on_triton == [None]
    assert torch.equal(oracle(chip).true_weights(array).cpu(), before)
