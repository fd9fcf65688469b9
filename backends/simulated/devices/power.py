"""Power response (Wu et al. 2025, eq. 148)."""

from collections.abc import Mapping
from typing import Any, Literal

from rpudriver.backends.simulated.devices.response import Parameter, Response, Values


class Power(Response):
    """``q+- = (1 -+ w / tau)^gamma``; zero beyond ``+-tau``. At ``gamma = 1`` linear soft bounds of ``+-tau``."""

    family: Literal["power"] = "power"
    tau: Parameter
    gamma: Parameter = Parameter(mean=1.0)

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.clip(1.0 - w / p["tau"], 0.0, None) ** p["gamma"]

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.clip(1.0 + w / p["tau"], 0.0, None) ** p["gamma"]
