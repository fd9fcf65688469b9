"""Devices and trains for tests of the compiled kernels.

A kernel is compiled for a family and a form of noise, some seconds each. So every family comes with one form here or
two, and every form with one family at least; write noise, dead devices and spreads take no kernel of their own.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.bank import Bank, new_bank
from rpudriver.backends.simulated.devices.spec import load_preset
from rpudriver.types import PulseTrains

QUIET: dict[str, Any] = {"c2c": 0.0}
MULTIPLICATIVE: dict[str, Any] = {"c2c": 0.4}
ADDITIVE: dict[str, Any] = {"c2c": 0.0, "c2c_additive": 0.2}
GENERAL: dict[str, Any] = {"c2c": 0.3, "c2c_additive": 0.2}
DIRTY: dict[str, Any] = {"write_noise": 1.2, "stuck": {"fraction": 0.1, "value": 0.2}}
MEASURED: dict[str, Any] = {
    "family": "measured",
    "w": [-0.3, -0.25, 0.0, 0.1, 0.3],  # devices go beyond both ends
    "dw_up": [0.03, 0.02, 0.01, 0.011, 0.002],
    "dw_down": [0.001, 0.01, 0.01, 0.02, 0.03],
    "dw_spread": [0.001, 0.002, 0.003, 0.0, 0.004],
}
EXPONENTIAL: dict[str, Any] = {"family": "exponential", "tau": {"mean": 0.7, "d2d": 0.1}, "gamma": 1.3}
CASES: dict[str, dict[str, Any]] = {
    "constant": {"response": {"family": "constant"}} | QUIET,
    "soft-bounds": {"response": {"family": "soft-bounds"}} | MULTIPLICATIVE,
    "linear": {"response": {"family": "power", "tau": {"mean": 0.6, "d2d": 0.1}}} | GENERAL,
    "power": {"response": {"family": "power", "tau": {"mean": 0.6, "d2d": 0.1}, "gamma": {"mean": 1.7, "d2d": 0.1}}}
    | MULTIPLICATIVE,
    "exponential": {"response": EXPONENTIAL} | QUIET,
    "exponential, additive": {"response": EXPONENTIAL} | ADDITIVE,
    "measured": {"response": MEASURED} | GENERAL,
}


def bank_of(device: dict[str, Any], shape: tuple[int, int]) -> Bank:
    """Return fresh devices: those of a preset, with keys replaced."""
    return new_bank(load_preset("asymmetric-100", {"device": device}).device, 7, "W/device", shape)


def force(patch: pytest.MonkeyPatch, *, dense: bool, cost: float = 1.0) -> None:
    """Have all trains applied by one of the two kernels, as if that took `cost` nanoseconds."""
    patch.setattr(native, "alone", lambda: -1.0)  # never where compiled code chooses
    patch.setattr(native, "_plan", lambda *_: (dense, cost))


def trains_of(shape: tuple[int, int], lengths: Sequence[int], densities: tuple[float, float], seed: int) -> PulseTrains:
    """Return trains of some lengths whose columns and rows fire in each slot with a probability each."""
    g, words = torch.Generator().manual_seed(seed), max(1, -(-max(lengths, default=0) // 32))
    bl = torch.tensor(lengths, dtype=torch.int64)
    used = torch.arange(32 * words) < bl[:, None, None]

    def side(lines: int, density: float) -> torch.Tensor:
        fires = (torch.rand(len(bl), lines, 32 * words, generator=g) < density) & used
        return (fires.view(len(bl), lines, words, 32).long() << torch.arange(32)).sum(-1).to(torch.uint32)

    def signs(lines: int) -> torch.Tensor:
        return torch.rand(len(bl), lines, generator=g) < 0.5

    n_out, n_in = shape
    return PulseTrains(side(n_in, densities[0]), side(n_out, densities[1]), signs(n_in), signs(n_out), bl)


def coincidences(trains: PulseTrains) -> torch.Tensor:
    """Return how many pulses each device gets, ``[n_out, n_in]``, from the bits."""

    def bits(words: torch.Tensor) -> torch.Tensor:
        return ((words.to(torch.int64)[..., None] >> torch.arange(32)) & 1).flatten(2).double()

    return torch.einsum("bis,bjs->ij", bits(trains.d_words), bits(trains.x_words)).to(torch.int64)
