import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.backends.writing import read_weights
from rpudriver.errors import StepError
from rpudriver.types import Cell, Port


def uniform(n_out: int, n_in: int, size: float) -> torch.Tensor:
    return (torch.rand(n_out, n_in, generator=torch.Generator().manual_seed(0)) * 2 - 1) * size


@pytest.mark.parametrize(("preset", "precision"), [("idealised", 0.5), ("asymmetric-100", 0.25), ("ecram", 0.34)])
def test_read_weights_is_as_precise_as_it_promises(preset: str, precision: float) -> None:
    """A quarter of a step; rounding alone averages out less well than noise; ecram: sqrt(0.06^2 + 0.0136^2) / 0.002
    / sqrt(8192) = 0.34 of a step with the most vectors that are read."""
    with make("simulated", preset=preset) as chip:
        chip.arm()
        array = chip.allocate("W", 20, 13)
        oracle(chip).set_true_state(array, Port.DEVICE, uniform(20, 13, 0.4))
        error = read_weights(chip, array) - oracle(chip).true_weights(array)
        # 260 estimates: their standard deviation is known to 4.4 %, taken at four times that
        assert error.std() < precision * 1.18 * chip.capabilities.device.dw_min


def test_saturated_outputs_are_read_again_with_smaller_inputs() -> None:
    with make("simulated", preset="idealised", chip={"output_bound": 2.0}) as chip:
        chip.arm()
        array = chip.allocate("W", 4, 16)
        oracle(chip).set_true_state(array, Port.DEVICE, torch.full((4, 16), 0.5))  # a sum of up to 8
        assert (read_weights(chip, array, 4096) - 0.5).abs().max() < 2e-3


@pytest.mark.parametrize("name", ["simulated", "reference"])
def test_weights_are_written_to_about_half_a_step(name: str) -> None:
    device = {"dw_min": {"mean": 0.012, "d2d": 0.1}, "w_max": 0.6, "w_min": -0.6}
    with make(name, preset="asymmetric-100", device=device, seed=2) as chip:
        chip.arm()
        for cell, port in ((Cell.SINGLE, Port.DEVICE), (Cell.REFERENCE, Port.REFERENCE), (Cell.PAIR, Port.DEVICE)):
            array = chip.allocate(cell.value, 6, 5, cell)
            target = uniform(6, 5, 0.3)
            achieved = chip.write(array, target, port)
            error = oracle(chip).true_weights(array) - target
            # left alone within half a step as read, and read with a quarter (sd): rms below sqrt(1/12 + 1/16) = 0.38,
            # more where a last pulse was still on its way; 30 devices
            assert error.square().mean().sqrt() < 0.7 * 0.012
            assert (achieved - target).square().mean().sqrt() < 0.7 * 0.012


def test_the_partner_of_a_pair_is_moved_in_half_steps() -> None:
    with make("simulated", preset="idealised", chip={"output_bits": 0}) as chip:
        chip.arm()
        array = chip.allocate("W", 6, 5, Cell.PAIR)
        target = uniform(6, 5, 0.25)
        chip.write(array, target, Port.REFERENCE)
        assert (oracle(chip).true_weights(array) - target).abs().max() < 0.26 * chip.capabilities.device.dw_min


def test_far_targets_are_reached_in_short_trains_within_armed_limits() -> None:
    with make("simulated", preset="idealised", chip={"output_bits": 0}) as chip:
        chip.arm(Limits(max_bl=10, max_input=0.5))
        array = chip.allocate("W", 3, 2)
        target = torch.tensor([[0.5, -0.5], [0.3, -0.25], [0.0, 0.1]])
        achieved = chip.write(array, target)
        assert (achieved - target).abs().max() < 2e-3
        assert (oracle(chip).true_weights(array) - target).abs().max() < 2e-3


def test_bad_targets_are_refused() -> None:
    with make("null", preset="idealised") as chip:
        chip.arm()
        array = chip.allocate("W", 3, 2)
        for target in (torch.zeros(2, 3), torch.full((3, 2), torch.nan)):
            with pytest.raises(StepError, match=r"must be finite \[3, 2\]"):
                chip.write(array, target)
        assert chip.status().cost["reads"] == 0
