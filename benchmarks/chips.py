"""Our side of a contest: armed chips, and updates and reads through the public backend."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.timing import Call
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.counting import tally
from rpudriver.backends.registry import make
from rpudriver.backends.updates import Drawing, Update
from rpudriver.trains import TrainSource
from rpudriver.types import Array

SOFT_BOUNDS = {"family": "soft-bounds"}
Batch = tuple[torch.Tensor, torch.Tensor]  # x [B, n_in] and d [B, n_out]


def spread(mean: float) -> dict[str, float]:
    """Return a device parameter with 30 % d2d."""
    return {"mean": mean, "d2d": 0.3}


def open_chip(response: dict[str, Any], rows: int, columns: int, torch_device: str = "cpu", **device: Any) -> Any:
    """Return an armed chip of devices with dw_min 0.001, range +-0.6, 30 % c2c and d2d, and one array ``"W"`` on it.

    Parameters
    ----------
    **device : keys that replace those of the device.
    """
    settings: dict[str, Any] = {
        "response": response,
        "dw_min": spread(1e-3),
        "w_max": spread(0.6),
        "w_min": spread(-0.6),
        "up_down_d2d": 0.01,
        "c2c": 0.3,
    }
    chip = make(
        "simulated",
        preset="idealised",
        seed=1,
        device=settings | device,
        read={"output_noise": 0.06},
        chip={"rows": max(rows, 512), "columns": max(columns, 512)},
        torch_device=torch_device,
    )
    chip.arm()
    return chip


class Updates:
    """Updates of one array, each with trains drawn afresh.

    Calling it makes one update with each of the batches ``(x, d)``. The sign of all d alternates from call to call, so
    that weights stay in range.
    """

    def __init__(
        self,
        chip: CrossbarBackend,
        array: Array,
        batches: Sequence[Batch],
        lr: float,
        max_bl: int,
        managed: bool = True,
    ) -> None:
        self._chip, self._array = chip, array
        self._turn = [[(x, -d) for x, d in batches], [(x, d) for x, d in batches]]
        self._drawing = Drawing(lr, chip.capabilities.device.dw_min, max_bl, managed, managed)
        self._source, self._samples = TrainSource(1, array.name), 0

    def _update(self, x: torch.Tensor, d: torch.Tensor) -> Update:
        """Return the next update, as training says it."""
        first, self._samples = self._samples, self._samples + len(x)
        return Update(self._array, x, d, self._drawing, self._source, first)

    def __call__(self) -> None:
        self._turn.reverse()
        for x, d in self._turn[0]:
            self._chip.update(self._update(x, d))

    def density(self) -> float:
        """Return the coincidences a cross-point and sample of one draw of all trains, counted."""
        drawn = [self._update(x, d).draw() for x, d in self._turn[0]]
        samples = sum(len(trains) for trains in drawn)
        return sum(tally(trains).coincidences for trains in drawn) / (samples * self._array.n_out * self._array.n_in)


def synchronised(call: Call) -> Call:
    """Return a call that waits until the GPU is done."""

    def waiting() -> None:
        call()
        torch.cuda.synchronize()

    return waiting
