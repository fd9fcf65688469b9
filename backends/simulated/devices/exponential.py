"""Exponential response (Wu et al. 2025, eq. 149)."""

from collections.abc import Mapping
from typing import Any, Literal

from rpudriver.backends.simulated.devices.response import Parameter, Response, Values


class Exponential(Response):
    """``q+- = (exp(gamma (1 -+ w / tau)) - 1) / (exp(gamma) - 1)``; zero beyond ``+-tau``."""

    family: Literal["exponential"] = "exponential"
    tau: Parameter
    gamma: Parameter = Parameter(mean=1.0)

    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.expm1(p["gamma"] * xp.clip(1.0 - w / p["tau"], 0.0, None)) / xp.expm1(p["gamma"])

    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        return xp.expm1(p["gamma"] * xp.clip(1.0 + w / p["tau"], 0.0, None)) / xp.expm1(p["gamma"])
