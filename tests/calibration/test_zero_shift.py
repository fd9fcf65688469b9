import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.zero_shift import zero_shift
from rpudriver.errors import StepError
from rpudriver.types import Array, Cell, Port

# Devices whose symmetry points differ by about a tenth of the range; few states, so that a few hundred pulses settle.
SPREAD = {"dw_min": {"mean": 0.012, "d2d": 0.1}, "w_max": 0.6, "w_min": -0.6, "up_down_d2d": 0.2}


def symmetry_points(chip: CrossbarBackend, array: Array) -> torch.Tensor:
    """Where ``dw_up (1 - w / w_max) = dw_down (1 - w / w_min)``."""
    p = oracle(chip).device_parameters(array, Port.DEVICE)
    return (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])


def left_over(chip: CrossbarBackend, array: Array) -> torch.Tensor:
    """What the symmetry points read as, without read noise."""
    return symmetry_points(chip, array) - oracle(chip).true_state(array, Port.REFERENCE)


@pytest.mark.parametrize(("name", "shape"), [("simulated", (24, 20)), ("reference", (6, 8))])
def test_symmetry_point_reads_as_zero_within_a_step(name: str, shape: tuple[int, int]) -> None:
    chip = make(name, preset="asymmetric-100", seed=3, device=SPREAD | {"c2c": 0.0})
    chip.arm()
    array = chip.allocate("A", *shape, Cell.REFERENCE)
    assert symmetry_points(chip, array).std() > 0.05  # before, the points are far from what reads as zero
    done = zero_shift(chip, array)
    assert done.pulses == 400
    assert done.residual.shape == array.shape
    # A device rests within half a step of its point (it ends on a down pulse), the reference is written to half a
    # step with a read error of a quarter (sd): 0.5 + 0.5 + 4 * 0.25 steps of at most 1.4 dw_min.
    assert left_over(chip, array).abs().max() < 2 * 1.4 * 0.012
    assert done.residual.abs().max() < 2 * 1.4 * 0.012


def test_noise_of_the_pulses_sets_the_floor() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=5, device=SPREAD | {"c2c": 0.3})
    chip.arm()
    array = chip.allocate("A", 60, 50, Cell.REFERENCE)
    zero_shift(chip, array)
    rms = float(left_over(chip, array).square().mean().sqrt())
    # s sqrt(dw b / 2) = 0.018 from pulse noise, dw / sqrt(12) = 0.0035 and a quarter step = 0.003 from writing, the
    # half step of the last down pulse 0.006: together 0.0196. 3000 devices give it to 1.3 %; d2d on dw adds 1 %.
    assert rms == pytest.approx(0.0196, rel=0.1)


def test_more_pulses_bring_a_far_device_nearer() -> None:
    left = []
    for pulses in (20, 100, 400):
        chip = make("simulated", preset="asymmetric-100", seed=3, device=SPREAD | {"c2c": 0.0})
        chip.arm()
        array = chip.allocate("A", 20, 20, Cell.REFERENCE)
        oracle(chip).set_true_state(array, Port.DEVICE, torch.full(array.shape, 0.4))
        zero_shift(chip, array, pulses)
        left.append(float(left_over(chip, array).abs().mean()))
    # A pair of pulses brings the distance down by 1 - 2 dw / b = 0.96: exp(-0.4), exp(-2), exp(-8) of it are left.
    start = 0.4
    assert left[0] == pytest.approx(start * 0.67, rel=0.2)
    assert left[1] == pytest.approx(start * 0.135, rel=0.3)
    assert left[2] < 0.012


def test_cells_without_a_reference_are_refused() -> None:
    chip = make("null", preset="asymmetric-100")
    chip.arm()
    with pytest.raises(StepError, match=r"Cell\.REFERENCE"):
        zero_shift(chip, chip.allocate("A", 4, 4))
    with pytest.raises(StepError, match="at least 0"):
        zero_shift(chip, chip.allocate("B", 4, 4, Cell.REFERENCE), -1)
    assert chip.status().cost == make("null", preset="asymmetric-100").status().cost
