"""From fitted responses to what a physicist asks of a device, each with an interval of 95 %."""

from dataclasses import dataclass
from typing import final

import numpy as np

from rpudriver.calibration import kalman
from rpudriver.calibration.response_fit import STEEP, Fit, Mask, innovations
from rpudriver.calibration.sweep_data import Floats, Sweep

NORMAL = 1.959964  # quantile of 97.5 %
MISFIT = 5.0  # standard deviations of the sum of squared innovations beyond which a device is not like the model
LEAST_SLOPE = 4.0  # a bound is where the step is 0; a slope of fewer standard errors tells nothing of it

UNITS = {
    "dw_up": "chip units",
    "dw_down": "chip units",
    "slope_up": "1",
    "slope_down": "1",
    "dw_min": "chip units",
    "symmetry_point": "chip units",
    "w_max": "chip units",
    "w_min": "chip units",
    "n_states": "1",
    "c2c": "steps",
    "write_noise": "chip units",
}


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """One quantity of D devices: value, standard error, and an interval of 95 %; float64 ``[D]``."""

    value: Floats
    error: Floats
    low: Floats
    high: Floats

    @classmethod
    def normal(cls, value: Floats, error: Floats) -> "Estimate":
        """Return an estimate with a symmetric interval."""
        return cls(value, error, value - NORMAL * error, value + NORMAL * error)

    def where(self, mask: Mask) -> "Estimate":
        """Return the estimate with NaN where a mask is not set."""
        return Estimate(*(np.where(mask, each, np.nan) for each in (self.value, self.error, self.low, self.high)))


def fitting(sweep: Sweep, fit: Fit) -> Mask:
    """Return the devices that the fitted response describes: found, not steep, steps not negative, no misfit."""
    _, score = innovations(sweep, fit)
    used = (score != 0).sum(1)
    freedom = np.maximum(1, used - kalman.COUNT)
    misfit = (np.square(score).sum(1) - freedom) / np.sqrt(2 * freedom)
    theta = fit.theta
    steep = np.abs(theta[:, [kalman.B_UP, kalman.B_DOWN]]).max(1) > STEEP
    finite = np.isfinite(fit.covariance).all((1, 2)) & np.isfinite(theta).all(1)
    fit_here = fit.found & finite & ~steep & (misfit < MISFIT) & (used > 2 * kalman.COUNT)
    if fit.form == "hard":  # a device that meets its bound only now and then is bent by it unseen
        fit_here &= sweep.arrived(kalman.UP) & sweep.arrived(kalman.DOWN)
    top, bottom = sweep.end(kalman.UP)[0], sweep.end(kalman.DOWN)[0]
    for level, slope in ((kalman.A_UP, kalman.B_UP), (kalman.A_DOWN, kalman.B_DOWN)):
        middle = theta[:, level] + theta[:, slope] * (top + bottom) / 2
        fit_here &= middle < STEEP / 2 * (top - bottom)
        for end in (top, bottom):  # where legs end, the step is about 0 or more
            step = theta[:, level] + theta[:, slope] * end
            fit_here &= (step > -0.5 * np.abs(theta[:, level])) | (fit.form == "local")
    return np.asarray(fit_here)


def estimates(sweep: Sweep, fit: Fit) -> dict[str, Estimate]:
    """Return the estimates under the names of `UNITS`; NaN where the sweep does not tell."""
    up, down = (kalman.A_UP, kalman.B_UP), (kalman.A_DOWN, kalman.B_DOWN)
    means = {"dw_up": up[0], "dw_down": down[0], "slope_up": up[1], "slope_down": down[1]}
    result = {name: Estimate.normal(fit.theta[:, j], np.sqrt(_variance(fit, j))) for name, j in means.items()}
    point, rate = _crossing(fit.theta), fit.theta[:, down[1]] - fit.theta[:, up[1]]
    safe = np.where(rate == 0, np.nan, rate)  # no symmetry point
    by = np.stack([1 / safe, point / safe, -1 / safe, -point / safe], 1)
    crossing = Estimate.normal(point, _propagate(fit, by))
    inside = (point < sweep.end(kalman.UP)[0]) & (point > sweep.end(kalman.DOWN)[0])
    decided = inside & (np.abs(rate) > LEAST_SLOPE * _propagate(fit, np.tile([0.0, -1.0, 0.0, 1.0], (len(rate), 1))))
    result["symmetry_point"] = crossing.where(decided)
    step = fit.theta[:, up[0]] + fit.theta[:, up[1]] * point
    by_step = fit.theta[:, up[1], None] * by + np.stack([np.ones_like(point), point, 0 * point, 0 * point], 1)
    level = fit.theta[:, [up[0], down[0]]].mean(1)  # where no symmetry point exists, the mean step at 0
    dw_min = np.where(decided, step, level)
    by_min = np.where(decided[:, None], by_step, np.array([0.5, 0.0, 0.5, 0.0]))
    result["dw_min"] = Estimate.normal(dw_min, _propagate(fit, by_min))
    bounds, by_range = [], np.zeros((len(point), 4))
    for name, way, pair, sign in (("w_max", kalman.UP, up, 1.0), ("w_min", kalman.DOWN, down, -1.0)):
        result[name], by_bound = _bound(sweep, fit, way, pair)
        bounds.append(result[name])
        by_range += sign * by_bound
    span = bounds[0].value - bounds[1].value
    by_states = (by_range - (span / dw_min)[:, None] * by_min) / dw_min[:, None]
    measured2 = 0.0 if fit.form == "soft" else np.square(bounds[0].error) + np.square(bounds[1].error)
    spread = np.sqrt(np.square(_propagate(fit, by_states)) + measured2 / np.square(dw_min))
    result["n_states"] = Estimate.normal(span / dw_min, spread)
    return result | {"c2c": _c2c(fit), "write_noise": _write_noise(fit)}


def _crossing(theta: Floats) -> Floats:
    """Return the weight at which steps up and down are equal."""
    rate = theta[:, kalman.B_DOWN] - theta[:, kalman.B_UP]
    return np.asarray((theta[:, kalman.A_UP] - theta[:, kalman.A_DOWN]) / np.where(rate == 0, 1e-300, rate))


def _variance(fit: Fit, j: int) -> Floats:
    return np.asarray(np.maximum(fit.covariance[:, j, j], 0.0))


def _propagate(fit: Fit, by: Floats) -> Floats:
    """Return the standard error of what has the derivatives `by` ``[D, 4]``."""
    covariance = fit.covariance[:, : kalman.MEANS, : kalman.MEANS]
    return np.asarray(np.sqrt(np.maximum(np.einsum("ni,nij,nj->n", by, covariance, by), 0.0)))


def _bound(sweep: Sweep, fit: Fit, way: int, pair: tuple[int, int]) -> tuple[Estimate, Floats]:
    """Return a bound, and its derivatives by the parameters where it follows from them.

    It is where the line of steps meets 0; where the line does not hold there, where the legs end if devices stop.
    """
    by = np.zeros((len(fit.theta), kalman.MEANS))
    if fit.form != "soft":
        return Estimate.normal(*sweep.end(way)).where(sweep.arrived(way)), by
    level, slope = fit.theta[:, pair[0]], fit.theta[:, pair[1]]
    safe = np.where(slope == 0, 1e-300, slope)
    by[:, pair[0]], by[:, pair[1]] = -1 / safe, level / np.square(safe)
    steep_enough = np.abs(slope) > LEAST_SLOPE * np.sqrt(_variance(fit, pair[1]))
    return Estimate.normal(-level / safe, _propagate(fit, by)).where(steep_enough), by


def _c2c(fit: Fit) -> Estimate:
    """Return the spread of one step from a device's own reads; the interval of a variance is even in its logarithm."""
    v = np.maximum(fit.free[:, kalman.C2C2], 1e-12)
    error = np.sqrt(np.maximum(fit.free_covariance[:, kalman.C2C2, kalman.C2C2], 0.0))
    value, factor = np.sqrt(v), np.exp(NORMAL * np.minimum(error / v, 40.0) / 2)
    return Estimate(value, error / (2 * value), value / factor, np.maximum(value * factor, np.sqrt(v + NORMAL * error)))


def _write_noise(fit: Fit) -> Estimate:
    """Return the spread between hidden and read state; the interval is that of its variance, which may be 0."""
    v = fit.free[:, kalman.WRITE2]
    error = np.sqrt(np.maximum(fit.free_covariance[:, kalman.WRITE2, kalman.WRITE2], 0.0))
    low, value, high = (np.sqrt(np.maximum(v + z * error, 0.0)) for z in (-NORMAL, 0.0, NORMAL))
    return Estimate(value, np.where(value > 0, error / (2 * np.maximum(value, 1e-300)), high / NORMAL), low, high)
