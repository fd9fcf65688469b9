"""Where alternating pulses bring a device of the reference backend: its symmetry point."""

import math
from typing import Any

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.types import Array, Port
from tests.backends.reference_chip import mean_error, open_chip, sd_error, state_of, uniform_trains

DW, B_UP, B_DOWN = 0.01, 0.6, 0.4  # step, upper bound, size of the lower bound
SOFT = {"response": {"family": "soft-bounds"}, "w_max": B_UP, "w_min": -B_DOWN}


def at_rest(device: dict[str, Any], shape: tuple[int, int], pairs: int, start: float) -> tuple[CrossbarBackend, Array]:
    """A chip whose devices saw pairs of one pulse up and one down."""
    chip = open_chip(device)
    array = chip.allocate("A", *shape)
    oracle(chip).set_true_state(array, Port.DEVICE, torch.full(shape, start))
    chip.apply_pulses(array, uniform_trains(shape, [1, -1]), repeat=pairs)
    return chip, array


@pytest.mark.parametrize("u", [0.0, 0.2, -0.35])
@pytest.mark.parametrize("start", [0.55, -0.35])
def test_soft_bounds_rest_at_the_symmetry_point(u: float, start: float) -> None:
    """w* = (s+ - s-) / (s+/b+ + s-/|b-|); the two-cycle of alternating pulses has it inside, to within a step."""
    up, down = DW * (1 + u), DW * (1 - u)
    chip, array = at_rest(SOFT | {"up_down": u}, (2, 2), pairs=350, start=start)
    low = float(state_of(chip, array)[0, 0])  # after the down pulse
    ru, rd = 1 - up / B_UP, 1 - down / B_DOWN
    assert abs(low - (rd * up - down) / (1 - ru * rd)) < 1e-6  # fixed point of w -> rd (ru w + up) - down
    chip.apply_pulses(array, uniform_trains((2, 2), [1]))
    high = float(state_of(chip, array)[0, 0])
    symmetry_point = (up - down) / (up / B_UP + down / B_DOWN)
    assert low < symmetry_point < high
    assert high - low < 1.5 * DW
    # steps of one size at both ends of the cycle put its middle half a step times the difference of the slopes off
    off = (high - low) / 2 * (up / B_UP - down / B_DOWN) / (up / B_UP + down / B_DOWN)
    assert abs((low + high) / 2 - symmetry_point - off) < 1e-6


def moments(c: float, s: float, pulses: list[int]) -> tuple[float, float]:
    """Mean and variance of soft-bound devices from 0: exact, since the step is linear in w."""
    m, v = 0.0, 0.0
    for sign in pulses:
        b = B_UP if sign > 0 else -B_DOWN
        a = sign * DW / b
        v = v * (1 - a) ** 2 + DW**2 * (c**2 * ((1 - m / b) ** 2 + v / b**2) + s**2)
        m = m * (1 - a) + sign * DW
    return m, v


@pytest.mark.parametrize(("c", "s"), [(0.3, 0.0), (0.0, 0.5), (1.0, 0.5)])
def test_spread_at_rest_follows_the_variance_recursion(c: float, s: float) -> None:
    pairs = 150
    chip, array = at_rest(SOFT | {"c2c": c, "c2c_additive": s}, (60, 50), pairs, start=0.0)
    mean, variance = moments(c, s, [1, -1] * pairs)
    state = state_of(chip, array)
    sd = math.sqrt(variance)
    assert abs(float(state.mean()) - mean) < mean_error(state, sd)
    assert abs(float(state.std()) - sd) < sd_error(state, sd)


def test_spread_at_rest_is_that_of_the_zero_shifting_paper() -> None:
    """Kim et al. 2019: a device moved by noisy pulses rests about s sqrt(dw b / 2) off; higher orders are 5 %."""
    b, s = 0.3, 0.3
    device = SOFT | {"w_max": b, "w_min": -b, "c2c": s}
    chip, array = at_rest(device, (60, 50), pairs=100, start=0.0)
    expected = s * math.sqrt(DW * b / 2)
    assert abs(float(state_of(chip, array).std()) / expected - 1) < 0.05 + 5 / math.sqrt(2 * 3000)


FAMILIES: list[tuple[dict[str, Any], float]] = [
    ({"family": "power", "tau": 0.6, "gamma": 1.5}, 0.0),
    ({"family": "exponential", "tau": 0.6, "gamma": 2.0}, 0.0),
    # the straight columns 0.01 - 0.02 w and 0.008 + 0.01 w cross at w = 1/15
    ({"family": "measured", "w": [-0.4, 0.4], "dw_up": [0.018, 0.002], "dw_down": [0.004, 0.012]}, 1 / 15),
]


@pytest.mark.parametrize(("response", "symmetry_point"), FAMILIES, ids=lambda value: str(value)[:24])
@pytest.mark.parametrize("start", [0.35, -0.35])
def test_other_families_rest_at_theirs(response: dict[str, Any], symmetry_point: float, start: float) -> None:
    device = {"response": response, "w_max": 0.6, "w_min": -0.6}
    chip, array = at_rest(device, (1, 1), pairs=300, start=start)
    low = float(state_of(chip, array))
    chip.apply_pulses(array, uniform_trains((1, 1), [1]))
    high = float(state_of(chip, array))
    assert low < symmetry_point < high
    assert high - low < 2 * DW


def test_a_constant_step_has_no_resting_point() -> None:
    chip, array = at_rest({}, (1, 1), pairs=100, start=0.3)
    assert abs(float(state_of(chip, array)) - 0.3) < 1e-6
