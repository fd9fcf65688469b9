"""Chips with known weights, and chips whose reads are damaged, for the tests of extraction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.types import Array, Port, ReadResult

Damage = Callable[[ReadResult, torch.Tensor], ReadResult]


def normal(rows: int, columns: int, sd: float = 0.1, seed: int = 0) -> torch.Tensor:
    """Return normal weights."""
    return sd * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def holding(weights: torch.Tensor, name: str = "simulated", **options: Any) -> tuple[CrossbarBackend, Array]:
    """Return an armed chip with noisy reads (0.06) that holds these weights exactly, and their array."""
    device = {"w_max": 50.0, "w_min": -50.0}
    read = {"output_noise": 0.06} | options.pop("read", {})
    chip = make(name, preset="idealised", **{"seed": 5, "device": device, "read": read} | options)
    return chip, placed(chip, weights)


def placed(chip: CrossbarBackend, weights: torch.Tensor, name: str = "W") -> Array:
    """Put weights on a chip."""
    chip.arm()
    array = chip.allocate(name, *weights.shape)
    oracle(chip).set_true_state(array, Port.DEVICE, weights)
    return array


class Damaged(SimulatedBackend):
    """A chip whose reads pass through a function ``(result, inputs) -> result``."""

    def __init__(self, damage: Damage, **chip: Any) -> None:
        options = SimulatorOptions(
            preset="idealised", device={"w_max": 50.0, "w_min": -50.0}, read={"output_noise": 0.06}, chip=chip
        )
        preset, capabilities = options.load()
        super().__init__(preset, capabilities, 5, "damaged", torch.device("cpu"))
        self._damage = damage

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = super()._execute(steps)
        return [self._damage(result, numbered.step.x) for result, numbered in zip(results, steps, strict=True)]


def damaged(weights: torch.Tensor, damage: Damage, **chip: Any) -> tuple[CrossbarBackend, Array]:
    """Return an armed chip with damaged reads that holds these weights, and their array."""
    backend = Damaged(damage, **chip)
    return backend, placed(backend, weights)


def with_values(change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    """Return a damage that changes values only."""
    return lambda result, _: replace(result, values=change(result.values.clone()))
