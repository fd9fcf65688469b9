"""Your own device: a formula of your own, or a table measured on your chip, without touching the simulator."""

from collections.abc import Mapping
from typing import Any, Literal

import torch

from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.response import Parameter, Response, Values
from rpudriver.backends.simulated.devices.spec import register_response
from rpudriver.backends.writing import read_weights
from rpudriver.nn import AnalogLinear, AnalogOptimizer
from rpudriver.trains import counted_pulses


class Logistic(Response):
    """``q+- = 2 / (1 + exp(+- k w))``: steep where a step up and a step down differ most. `k` varies by device."""

    family: Literal["logistic"] = "logistic"
    k: Parameter = Parameter(mean=4.0)

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return 2.0 / (1.0 + xp.exp(p["k"] * w))  # xp is numpy or torch: one text for both backends

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return 2.0 / (1.0 + xp.exp(-p["k"] * w))


register_response("logistic", Logistic)
DEVICES: dict[str, dict[str, Any]] = {
    "formula": {"response": {"family": "logistic", "k": {"mean": 4.0, "d2d": 0.2}}},
    "table": {  # weight, and the mean size and the spread of a pulse up and down, all in weight units
        "response": {
            "family": "measured",
            "w": [-0.6, -0.3, 0.0, 0.3, 0.6],
            "dw_up": [0.022, 0.016, 0.012, 0.008, 0.001],
            "dw_down": [0.002, 0.007, 0.012, 0.017, 0.023],
            "dw_spread": [0.004, 0.004, 0.003, 0.004, 0.005],
        }
    },
}


def pulse(chip: CrossbarBackend) -> list[float]:
    """Return the mean weight of 64 devices after 0, 20, .. 100 pulses up, then 20, .. 100 down."""
    array = chip.allocate("bare", 8, 8)
    curve = [float(read_weights(chip, array).mean())]
    for direction in [1] * 5 + [-1] * 5:
        chip.apply_pulses(array, counted_pulses(torch.full((8, 8), 20 * direction)))
        curve.append(float(read_weights(chip, array).mean()))
    return curve


def train(chip: CrossbarBackend) -> float:
    """Return the share of a linear map's variance that TTv2 leaves unexplained; read noise alone leaves 0.02."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(512, 8, generator=generator) * 2 - 1
    y = x @ (torch.rand(8, 4, generator=generator) - 0.5)
    layer = AnalogLinear(8, 4, chip, TTv2(fast_lr=0.05), name="layer", bias="none")
    optimizer = AnalogOptimizer(layer, lr=0.03)
    for _ in range(4):
        for start in range(0, len(x), 8):
            optimizer.zero_grad()
            error = layer(x[start : start + 8]) - y[start : start + 8]
            (error**2).sum(1).mean().div(2).backward()
            optimizer.step()
    with torch.no_grad():
        return float(((layer(x) - y) ** 2).mean() / y.var())


if __name__ == "__main__":
    for name, device in DEVICES.items():
        with make("simulated", preset="asymmetric-100", device=device) as chip:
            chip.arm()
            print(f"{name}: mean weight {' '.join(f'{w:+.2f}' for w in pulse(chip))}, error {train(chip):.3f}")
