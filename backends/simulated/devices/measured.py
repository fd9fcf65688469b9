"""Measured response: a table taken from a real chip, interpolated linearly."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from rpudriver.backends.simulated.devices.response import Response, Values

Column = Annotated[tuple[float, ...], Field(min_length=2)]


class Measured(Response):
    """Steps measured at the weights `w`: ``dw_up`` and ``dw_down`` (both positive), and the spread of one step.

    The table is in weight units. Steps are divided by the device's nominal `dw_min`, so that the d2d spread of
    `dw_min` scales the table. Outside the table the step is that of its nearest end.
    """

    family: Literal["measured"] = "measured"
    w: Column
    dw_up: Column
    dw_down: Column
    dw_spread: Column | None = None

    @model_validator(mode="after")
    def _sound(self) -> "Measured":
        if any(b <= a for a, b in pairwise(self.w)):
            raise ValueError("the weights w of a measured table must rise; sort the rows and drop doubles")
        for name in ("dw_up", "dw_down", "dw_spread"):
            column = getattr(self, name)
            if column is not None and (len(column) != len(self.w) or min(column) < 0):
                raise ValueError(f"{name} needs {len(self.w)} values of at least 0, one for each w; got {column}")
        return self

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return self._look_up(w, self.dw_up, xp) / p["dw_nominal"]

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return self._look_up(w, self.dw_down, xp) / p["dw_nominal"]

    def spread(self, w: Values, p: Mapping[str, Values], up: bool, xp: Any) -> Values:
        return 0.0 if self.dw_spread is None else self._look_up(w, self.dw_spread, xp) / p["dw_nominal"]

    def _look_up(self, w: Values, column: tuple[float, ...], xp: Any) -> Values:
        if xp is np:
            return np.interp(w, self.w, column)
        grid = torch.tensor(self.w, dtype=w.dtype, device=w.device)
        values = torch.tensor(column, dtype=w.dtype, device=w.device)
        right = torch.searchsorted(grid, w.contiguous()).clamp(1, len(self.w) - 1)
        share = ((w - grid[right - 1]) / (grid[right] - grid[right - 1])).clamp(0.0, 1.0)
        return values[right - 1] + share * (values[right] - values[right - 1])
