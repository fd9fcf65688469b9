"""Mean and spread of a parameter over devices, from estimates that have errors of their own."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ROUNDS = 100
WILD = 6.0  # standard deviations, of spread and error together, beyond which an estimate is left out
CLEARLY = 5.0  # nats that a log-normal law must gain over a normal one
QUANTILE = 1.959964  # of the normal law: intervals hold 95 %


@final
@dataclass(frozen=True)
class Estimate:
    """A number, its standard error and its 95 % interval."""

    value: float
    error: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"value": self.value, "error": self.error, "interval": [self.low, self.high]}


def normal_interval(value: float, error: float, least: float = -math.inf) -> Estimate:
    """Return an estimate with the interval of a normal law, cut off below."""
    return Estimate(value, error, max(least, value - QUANTILE * error), max(least, value + QUANTILE * error))


def root_interval(square: float, error: float) -> Estimate:
    """Return the root of an estimated square, whose interval is that of the square."""
    root = math.sqrt(max(0.0, square))
    low, high = (math.sqrt(max(0.0, square + sign * QUANTILE * error)) for sign in (-1, 1))
    return Estimate(root, error / (2 * root) if root > error**0.5 / 2 else math.sqrt(error), low, high)


@final
@dataclass(frozen=True)
class Population:
    """Mean and standard deviation over devices, the errors of estimation taken off.

    Attributes
    ----------
    mean, sd : estimates.
    score : negative logarithm of the likelihood for each device.
    kept : share of the devices that was used.
    """

    mean: Estimate
    sd: Estimate
    score: float
    kept: float


def population(values: Floats, errors: Floats) -> Population:
    """Return mean and spread of normal true values whose estimates have known standard errors.

    Maximum likelihood of ``value_i ~ N(mean, sd^2 + error_i^2)``, the random-effects model of meta-analysis (Hardy &
    Thompson 1996), by Fisher scoring; the errors do not rest on the normal law (sandwich).
    """
    usable = np.isfinite(values) & np.isfinite(errors)
    count = len(values)
    values, own = values[usable], errors[usable] ** 2
    mean, variance = _scored(values, own)
    inside = np.abs(values - mean) <= WILD * np.sqrt(variance + own)
    values, own = values[inside], own[inside]
    mean, variance = _scored(values, own)
    weight = 1 / (variance + own)
    squares = (values - mean) ** 2
    error = float(np.sqrt((weight**2 * squares).sum()) / weight.sum())
    of_variance = float(np.sqrt((weight**4 * (squares - own - variance) ** 2).sum()) / (weight**2).sum())
    score = 0.5 * float((np.log(2 * math.pi / weight) + squares * weight).mean())
    return Population(
        normal_interval(mean, error), root_interval(variance, of_variance), score, len(values) / max(1, count)
    )


def _scored(values: Floats, own: Floats) -> tuple[float, float]:
    """Return mean and variance of the largest likelihood."""
    mean = float(np.median(values))
    low, high = np.quantile(values, [0.16, 0.84])
    variance = float(((high - low) / 2) ** 2)
    tiny = 1e-12 * (mean**2 + variance) + 1e-30
    own = np.maximum(own, tiny)
    for _ in range(ROUNDS):
        weight = 1 / (variance + own)
        mean = float((weight * values).sum() / weight.sum())
        by = float((weight**2 * ((values - mean) ** 2 - own - variance)).sum() / (weight**2).sum())
        variance = max(0.0, variance + by)
        if abs(by) < 1e-6 * (variance + tiny):
            break
    return mean, variance


def spread_parameter(values: Floats, relative: Floats) -> tuple[Estimate, Estimate, str, float]:
    """Return mean, relative spread and form of a positive parameter, and the share of devices used.

    Parameters
    ----------
    values, relative : estimates and their relative standard errors, ``[D]``.

    Returns
    -------
    mean, d2d, ``"normal"`` or ``"log-normal"`` (as presets define them), share.
    """
    usable = np.isfinite(relative) & (values > 0)
    normal = population(values, np.where(usable, relative * np.median(values[usable]), np.inf))
    logs = np.log(np.where(usable, values, 1.0))
    logarithmic = population(logs, np.where(usable, relative, np.inf))
    gain = (normal.score - logarithmic.score - float(logs[usable].mean())) * usable.sum()
    if gain > CLEARLY and logarithmic.sd.low > 0:
        mu, sd = logarithmic.mean, logarithmic.sd
        centre = math.exp(mu.value + sd.value**2 / 2)
        error = centre * math.hypot(mu.error, sd.value * sd.error)
        return normal_interval(centre, error, 0.0), sd, "log-normal", logarithmic.kept
    mean, sd = normal.mean, normal.sd
    d2d = Estimate(*(max(0.0, part / mean.value) for part in (sd.value, sd.error, sd.low, sd.high)))
    return mean, d2d, "normal", normal.kept
