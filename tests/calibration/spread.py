"""Chips whose devices differ in everything, start anywhere in their range and rest far from zero; and damaged ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.types import Array, Cell, Port, Pulse, Read, ReadResult

DEVICE = {"up_down_d2d": 0.3, "c2c": 0.3}  # symmetry points spread by 30 % of the bound


def spread_chip(
    dw_min: float = 0.01,
    shape: tuple[int, int] = (32, 32),
    cell: Cell = Cell.REFERENCE,
    name: str = "simulated",
    seed: int = 1,
    chip: dict[str, Any] | None = None,
    **device: Any,
) -> tuple[CrossbarBackend, Array]:
    """Return an armed chip of nominal asymmetric devices of a step, and an array whose devices start anywhere."""
    options = DEVICE | {"dw_min": {"mean": dw_min, "d2d": 0.3}} | device
    opened = make(name, preset="rpu-asymmetric", seed=seed, device=options, chip=chip or {})
    opened.arm()
    return opened, scattered(opened, shape, cell)


def scattered(chip: CrossbarBackend, shape: tuple[int, int], cell: Cell) -> Array:
    """Return an array whose devices lie uniformly in the nominal range."""
    array = chip.allocate("A", *shape, cell)
    start = 1.2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.6
    oracle(chip).set_true_state(array, Port.DEVICE, start)
    return array


def true_points(chip: CrossbarBackend, array: Array) -> torch.Tensor:
    """Return what the symmetry points of soft-bounds devices read as."""
    p = oracle(chip).device_parameters(array, Port.DEVICE)
    point = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
    if array.cell is Cell.REFERENCE:
        return point - oracle(chip).true_state(array, Port.REFERENCE)
    return point


class Damaged(SimulatedBackend):
    """A chip with an open input line, an output line that always saturates, or a read-out that fails."""

    def __init__(
        self, open_column: int | None = None, saturated_row: int | None = None, nan_after: int | None = None
    ) -> None:
        options = DEVICE | {"dw_min": {"mean": 0.01, "d2d": 0.3}}
        preset, declared = SimulatorOptions(preset="rpu-asymmetric", device=options).load()
        super().__init__(preset, declared, 1, "damaged", torch.device("cpu"))
        self._column, self._row, self._nan_after = open_column, saturated_row, nan_after

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        reads = list(super()._execute([replace(numbered, step=self._sent(numbered.step)) for numbered in steps]))
        if self._row is not None:
            for result in reads:
                result.values[:, self._row] = 12.0
                result.saturated[:, self._row] = True
        if self._nan_after is not None and reads:
            self._nan_after -= 1
            if self._nan_after < 0:
                reads[0].values[0, 0] = torch.nan
        return reads

    def _sent(self, step: Any) -> Any:
        if self._column is None:
            return step
        if isinstance(step, Read) and not step.transposed:
            x = step.x.clone()
            x[:, self._column] = 0
            return replace(step, x=x)
        if isinstance(step, Pulse):
            words = step.trains.x_words.view(torch.int32).clone()
            words[:, self._column] = 0
            return replace(step, trains=replace(step.trains, x_words=words.view(torch.uint32)))
        return step
