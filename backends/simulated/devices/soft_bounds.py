"""Soft bounds: the step falls linearly to zero at the bound (Gokmen 2021, fig. 1B)."""

from collections.abc import Mapping
from typing import Any, Literal

from rpudriver.backends.simulated.devices.response import Response, Values


class SoftBounds(Response):
    """``q+ = 1 - w / w_max``, ``q- = 1 - w / w_min``: exponential saturation, symmetry point 0 at equal strengths."""

    family: Literal["soft-bounds"] = "soft-bounds"

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return 1.0 - w / p["w_max"]

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return 1.0 - w / p["w_min"]
