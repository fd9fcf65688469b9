"""Cycle-to-cycle noise as it comes out of the compiled kernels, seen through weights.

A device at 0 that gets one pulse up ends at ``dw (1 + s xi)``, so weights give back xi. Tolerances are five standard
deviations for the number of samples, as in ``tests/keyed/test_statistics.py``.
"""

import math
from typing import Any

import pytest
import torch

from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.bank import Bank
from tests.backends.simulated.kernel_cases import CASES, bank_of, force, trains_of

SIGMAS = 5.0
MAX_DISTANCE = 1.7e-4  # of the generator's distribution function from the normal one, over all words
SHAPE, PULSES, DW = (509, 515), 4, 1e-3  # odd numbers: the ends of tiles take part
N = PULSES * SHAPE[0] * SHAPE[1]  # about 2^20
PLAIN: dict[str, Any] = {"dw_min": DW, "up_down_d2d": 0.0, "w_max": 1.0, "w_min": -1.0}
FLAT = {"family": "measured", "w": [-1.0, 1.0], "dw_up": [DW, DW], "dw_down": [DW, DW], "dw_spread": [3e-4, 3e-4]}
# device, and the spread of a step at weight 0 in steps
SPREADS: dict[str, tuple[dict[str, Any], float]] = {
    "multiplicative": (CASES["soft-bounds"] | {"c2c": 0.3} | PLAIN, 0.3),
    "additive": (CASES["linear"] | {"c2c": 0.0, "c2c_additive": 0.4} | PLAIN, 0.4),
    "of a measured table": (CASES["measured"] | {"response": FLAT, "c2c": 0.4, "c2c_additive": 0.0} | PLAIN, 0.5),
}


def noise_of(bank: Bank, spread: float, flip: bool) -> torch.Tensor:
    """Return xi of the first pulses of every device, float64 ``[PULSES, n_out, n_in]``."""
    one = trains_of(SHAPE, [1], (1.1, 1.1), 0)
    up = one.x_negative.new_zeros(1, SHAPE[1]), one.d_negative.new_zeros(1, SHAPE[0])
    one = type(one)(one.x_words, one.d_words, *up, one.bl)
    found = []
    for _ in range(PULSES):
        bank.hidden.zero_()
        native.apply_trains(bank, one, 1, 1.0, flip)
        step = bank.hidden.double().view(SHAPE) / DW
        found.append(((-step if flip else step) - 1) / spread)
    return torch.stack(found)


@pytest.mark.parametrize("flip", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("form", SPREADS)
def test_noise_of_pulses_is_normal_and_independent(form: str, flip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, dense=True)  # the sparse kernel gives the same bits, another test says
    device, spread = SPREADS[form]
    xi = noise_of(bank_of(device, SHAPE), spread, flip)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # E x^k and its variance
        assert abs(float((xi**power).mean()) - moment) < SIGMAS * math.sqrt(variance / N)
    ordered = xi.flatten().sort().values
    places = (torch.arange(N, dtype=torch.float64) + 0.5) / N
    distance = float((0.5 * torch.erfc(-ordered / math.sqrt(2)) - places).abs().max())
    assert distance < MAX_DISTANCE + 1.95 / math.sqrt(N)  # Kolmogorov's at odds 1 : 1000
    for near, far in ((xi[:-1], xi[1:]), (xi[:, :-1], xi[:, 1:]), (xi[..., :-1], xi[..., 1:])):
        assert abs(float((near * far).mean())) < SIGMAS / math.sqrt(near.numel())


def test_noise_scales_with_the_step_and_not_where_it_is_additive(monkeypatch: pytest.MonkeyPatch) -> None:
    """At half of its bound a soft-bounds device makes half the step, with half the noise; additive noise stays."""
    force(monkeypatch, dense=True)
    one = trains_of(SHAPE, [1], (1.1, 1.1), 0)
    one = type(one)(one.x_words, one.d_words, one.x_negative & False, one.d_negative & False, one.bl)
    linear = {"response": {"family": "power", "tau": 1.0}}  # the same step, in the kernel for additive noise
    for device, expected in (
        (CASES["soft-bounds"] | {"c2c": 0.3}, 0.15),
        (linear | {"c2c": 0.3, "c2c_additive": 0.2}, math.hypot(0.15, 0.2)),
    ):
        bank = bank_of(device | PLAIN, SHAPE)
        bank.hidden.fill_(0.5)
        native.apply_trains(bank, one, 1, 1.0, False)
        step = (bank.hidden.double() - 0.5) / DW
        n = step.numel()
        assert abs(float(step.mean()) - 0.5) < SIGMAS * expected / math.sqrt(n)
        assert abs(float(step.std()) / expected - 1) < SIGMAS / math.sqrt(2 * n)
