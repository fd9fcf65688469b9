"""Constant step: the symmetric device of Gokmen & Vlasov 2016."""

from collections.abc import Mapping
from typing import Any, Literal

from rpudriver.backends.simulated.devices.response import Response, Values


class ConstantStep(Response):
    """``q+ = q- = 1`` inside the bounds."""

    family: Literal["constant"] = "constant"

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.ones_like(w)

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.ones_like(w)
