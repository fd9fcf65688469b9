"""A small procedure for tests: pulses every device up, again and again, and reads one column after each portion."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.findings import found_where
from rpudriver.calibration.procedure import Data, Procedure, Progress, setting, usable
from rpudriver.trains import counted_pulses
from rpudriver.types import Array


@dataclass(eq=False)
class Walk(Procedure):
    """Walk up."""

    name: ClassVar[str] = "walk"
    steps: int = setting(5, "portions", within=(1, 100))
    way: str = setting("up", "where to", choices=("up", "down"))

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        return {"reads": torch.zeros(self.steps, array.n_out), "done": 0}

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        sign = 1 if self.way == "up" else -1
        backend.apply_pulses(array, counted_pulses(torch.full(array.shape, sign)))
        x = torch.zeros(1, array.n_in)
        x[0, 0] = 1.0
        data["reads"][data["done"]] = usable(backend.read_matvec(array, x).values, "walk")[0]
        data["done"] += 1
        return bool(data["done"] == self.steps)

    def _progress(self, data: Data) -> Progress:
        return Progress(data["done"], self.steps)

    def _conclude(self, data: Data) -> None:
        self.last_ = data["reads"][-1]
        self.findings_ = found_where("low", "did not move", self.last_ < 0)

    def summary(self) -> dict[str, Any]:
        return {"mean": float(self.last_.mean())}
