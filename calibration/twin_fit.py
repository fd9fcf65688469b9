"""Fit the simulator's device model to a characterisation: which response family, with what parameters and spreads."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from rpudriver.calibration import response_filter as rf
from rpudriver.calibration.device_fit import DeviceFit, Sweeps, fit_devices
from rpudriver.calibration.findings import Finding
from rpudriver.calibration.population import (
    QUANTILE,
    Estimate,
    normal_interval,
    population,
    root_interval,
    spread_parameter,
)
from rpudriver.calibration.twin_data import TwinData
from rpudriver.errors import CalibrationError

Floats = npt.NDArray[np.float64]

SELECTED = 120  # devices on which families compete
CLEARLY = 2.0  # standard errors by which a family of more freedom must win
BINS = 24  # of the weight, in a measured table
PLACES = 8  # in a device's range, at which its misses are compared
POORLY = 0.1  # share of the missed variance that has a pattern, beyond which no family is good
FEW = 0.95  # of the devices used for a parameter, below which a finding says so
DIGITS = 6
TAILS = 4.0  # standard deviations of tau that the bounds leave room for, where tau itself ends the range


@final
@dataclass(frozen=True)
class Contest:
    """How well families predict a sweep that they were not fitted to.

    Attributes
    ----------
    scores : negative logarithm of the likelihood of a held-out read, mean over devices and reads, by family.
    behind, behind_error : by how much a family is behind the chosen one, and the standard error over devices.
    misfit : share of what the chosen family's predictions miss that is no noise but has a pattern; 0 is right.
    """

    chosen: str
    scores: dict[str, float]
    behind: dict[str, float]
    behind_error: dict[str, float]
    misfit: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(vars(self))


@final
@dataclass(frozen=True, eq=False)
class Twin:
    """A fitted device model.

    Attributes
    ----------
    preset : nested tables of a chip preset, without its source.
    parameters : estimates by the name of the preset's key, for example ``"dw_min"``, ``"dw_min.d2d"``.
    forms : ``"normal"`` or ``"log-normal"``, by parameter.
    contest : the choice of the family.
    fit : the parameters of single devices.
    findings : what does not fit.
    """

    preset: dict[str, Any]
    parameters: dict[str, Estimate]
    forms: dict[str, str]
    contest: Contest
    fit: DeviceFit
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return documented plain values, for JSON."""
        parameters = {name: value.as_dict() for name, value in self.parameters.items()}
        return {
            "family": self.contest.as_dict(),
            "devices": len(self.fit.theta),
            "parameters": parameters,
            "forms": self.forms,
            "preset": self.preset,
        }


def fit_twin(data: TwinData, family: str | None = None) -> Twin:
    """Return the device model that a characterisation tells of.

    Parameters
    ----------
    family : of the response; chosen by how well families predict the last sweep if left out.
    """
    contest = _contest(data.sweeps, family)
    sweeps, number = data.sweeps, rf.FAMILIES.index(contest.chosen)
    table = measured_table(sweeps, sweeps.cycle >= 0)
    fit = fit_devices(sweeps, number, _start(sweeps, number), table, sweeps.cycle >= 0)
    parameters, forms, kept = _parameters(fit)
    parameters |= _shared(fit, data, parameters["dw_min"])
    preset = _preset(contest.chosen, parameters, forms, fit, data)
    return Twin(preset, parameters, forms, contest, fit, _findings(contest, kept))


def _contest(sweeps: Sweeps, family: str | None) -> Contest:
    """Return how the families predict the last sweep from the others; fewer parameters win a draw."""
    last = sweeps.cycle.max()
    used, held = sweeps.cycle < last, sweeps.cycle == last
    some = sweeps.of(np.linspace(0, len(sweeps.weights) - 1, min(SELECTED, len(sweeps.weights))).astype(np.int64))
    table = measured_table(some, used)
    names: tuple[str, ...] = rf.FAMILIES if family is None else (family,)
    fits = {name: fit_devices(some, n, _start(some, n), table, used) for n, name in _numbered(names)}
    scores = {name: fit.scores[:, held].mean(1) for name, fit in fits.items()}  # of each device
    scores = {name: score for name, score in scores.items() if np.isfinite(score).all()}
    if not scores:
        raise CalibrationError(
            "no response family can be fitted to the sweeps; look at the plots of the characterisation"
        )
    names = tuple(scores)
    best = min(scores, key=lambda name: float(scores[name].mean()))

    def behind(name: str, other: str) -> tuple[float, float]:
        difference = scores[name] - scores[other]
        return float(difference.mean()), float(difference.std() / math.sqrt(len(difference)))

    drawn = [name for name in names if behind(name, best)[0] <= CLEARLY * behind(name, best)[1]]
    chosen = drawn[0] if drawn else best  # in the order of their freedom
    won = fits[chosen]
    return Contest(
        chosen,
        {name: float(score.mean()) for name, score in scores.items()},
        {name: behind(name, chosen)[0] for name in names},
        {name: behind(name, chosen)[1] for name in names},
        _systematic(won, some, held),
    )


def _systematic(fit: DeviceFit, sweeps: Sweeps, held: npt.NDArray[np.bool_]) -> float:
    """Return the share of what predictions miss that depends on direction and place in the device's range.

    A family that is wrong calls what it misses noise, so its size tells nothing; that it has a pattern does. Misses
    without a pattern give 0 on average.
    """
    ends = sweeps.weights.min(1, keepdims=True), sweeps.weights.max(1, keepdims=True)
    before = np.concatenate([sweeps.weights[:, :1], sweeps.weights[:, :-1]], 1)
    place = np.clip(PLACES * (before - ends[0]) / (ends[1] - ends[0]), 0, PLACES - 1).astype(np.int64)
    relative = fit.innovations / np.sqrt(fit.spread)
    patterned, whole = 0.0, 0.0
    for kind in (rf.UP, rf.DOWN):
        there = held & (sweeps.kinds == kind)
        for n in range(PLACES):
            missed = relative[:, there][place[:, there] == n]
            if len(missed):
                size = float((missed**2).mean())
                patterned += len(missed) * float(missed.mean()) ** 2 - size
                whole += len(missed) * size
    return patterned / whole if whole else 0.0


def _numbered(names: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(rf.FAMILIES.index(name), name) for name in names]


def _start(sweeps: Sweeps, family: int) -> Floats:
    """Return parameters to start from: the nominal step, and bounds where a device was."""
    high = np.maximum(sweeps.weights.max(1), 2 * sweeps.dw_min)
    low = np.maximum(-sweeps.weights.min(1), 2 * sweeps.dw_min)
    start = np.zeros((len(high), 4))
    start[:, rf.DW] = sweeps.dw_min
    if family in (rf.POWER, rf.EXPONENTIAL):
        start[:, rf.FIRST], start[:, rf.SECOND] = 1.1 * np.maximum(high, low), 1.5
    else:
        start[:, rf.FIRST], start[:, rf.SECOND] = high, low
    return start


def measured_table(sweeps: Sweeps, used: npt.NDArray[np.bool_]) -> Floats:
    """Return weights and mean relative steps up and down, ``[3, B]``: of each device in a bin, then over devices."""
    low, high = np.quantile(sweeps.weights, [0.02, 0.98])
    edges = np.linspace(low, high, BINS + 1)
    middles = (sweeps.weights[:, 1:] + sweeps.weights[:, :-1]) / 2
    steps = np.diff(sweeps.weights, axis=1) / np.maximum(sweeps.counts[1:], 1)
    rows = [(edges[1:] + edges[:-1]) / 2]
    for kind, way in ((rf.UP, 1.0), (rf.DOWN, -1.0)):
        there = (sweeps.kinds[1:] == kind) & used[1:]
        place, size = np.digitize(middles[:, there], edges) - 1, way * steps[:, there]
        means = np.full(BINS, np.nan)
        for n in range(BINS):
            inside = place == n
            seen = inside.any(1)
            if seen.any():
                means[n] = ((size * inside).sum(1)[seen] / inside.sum(1)[seen]).mean()
        known = np.isfinite(means)
        rows.append(np.maximum(np.interp(rows[0], rows[0][known], means[known]), 0) / sweeps.dw_min)
    return np.stack(rows)


def _parameters(fit: DeviceFit) -> tuple[dict[str, Estimate], dict[str, str], dict[str, float]]:
    """Return means and spreads over devices, their forms, and the share of devices used for each."""
    estimates: dict[str, Estimate] = {}
    forms: dict[str, str] = {}
    kept: dict[str, float] = {}
    curved = fit.family in (rf.POWER, rf.EXPONENTIAL)
    for name, n in (("dw_min", rf.DW), *zip(("tau", "gamma") if curved else ("w_max", "w_min"), (2, 3), strict=True)):
        values = fit.theta[:, n]
        mean, d2d, forms[name], kept[name] = spread_parameter(values, fit.errors[:, n] / values)
        estimates |= {name: mean, f"{name}.d2d": d2d}
    if not curved:
        low = estimates["w_min"]
        estimates["w_min"] = Estimate(-low.value, low.error, -low.high, -low.low)
    imbalance = population(fit.theta[:, rf.IMBALANCE], fit.errors[:, rf.IMBALANCE])
    kept["up_down"] = imbalance.kept
    return estimates | {"up_down": imbalance.mean, "up_down_d2d": imbalance.sd}, forms, kept


def _shared(fit: DeviceFit, data: TwinData, dw_min: Estimate) -> dict[str, Estimate]:
    """Return what all devices share: pulse and write noise, stuck devices, noise of reading."""
    c2c, additive, write = (root_interval(v, e) for v, e in zip(fit.noise, fit.noise_error, strict=True))
    write = _over(write, dw_min)
    reading = (normal_interval(v, e, 0.0) for v, e in zip(data.noise, data.noise_error, strict=True))
    found = {"c2c": c2c, "c2c_additive": additive, "write_noise": write}
    found["stuck.fraction"] = _fraction(data.stuck, data.stuck + data.live)
    return found | dict(zip(("output_noise", "weight_noise", "input_noise"), reading, strict=True))


def _over(write: Estimate, dw_min: Estimate) -> Estimate:
    """Return write noise in mean steps, whose own error widens the interval."""
    value = write.value / dw_min.value
    shared = (value * dw_min.error / dw_min.value) ** 2
    below, above = ((side - write.value) / dw_min.value for side in (write.low, write.high))
    reach = QUANTILE**2 * shared
    return Estimate(
        value,
        math.hypot(write.error / dw_min.value, math.sqrt(shared)),
        max(0.0, value - math.sqrt(below**2 + reach)),
        value + math.sqrt(above**2 + reach),
    )


def _fraction(count: int, total: int) -> Estimate:
    """Return a share with its interval (Wilson 1927)."""
    z2, share = QUANTILE**2 / total, count / total
    centre = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
    return Estimate(share, math.sqrt(share * (1 - share) / total), max(0.0, centre - half), centre + half)


def _preset(
    family: str, parameters: dict[str, Estimate], forms: dict[str, str], fit: DeviceFit, data: TwinData
) -> dict[str, Any]:
    """Return the tables of a preset file."""

    def value(name: str) -> float:
        return float(f"{parameters[name].value:.{DIGITS}g}")

    def spread(name: str) -> dict[str, Any]:
        return {"mean": value(name), "d2d": value(f"{name}.d2d"), "form": forms[name]}

    response: dict[str, Any] = {"family": family}
    device: dict[str, Any] = {"dw_min": spread("dw_min")}
    if family in ("power", "exponential"):
        response |= {"tau": spread("tau"), "gamma": spread("gamma")}
        reach = float(f"{value('tau') * (1 + TAILS * value('tau.d2d')):.{DIGITS}g}")
        device |= {"w_max": reach, "w_min": -reach}  # tau ends the range: a bound of its own is not to be seen
    else:
        device |= {"w_max": spread("w_max"), "w_min": spread("w_min")}
    if family == "measured":
        weights, *steps = np.round(fit.table, 9).tolist()
        up, down = ([float(f"{value('dw_min') * q:.{DIGITS}g}") for q in column] for column in steps)
        response |= {"w": weights, "dw_up": up, "dw_down": down}
    device |= {name: value(name) for name in ("up_down", "up_down_d2d", "c2c", "c2c_additive", "write_noise")}
    device["stuck"] = {"fraction": value("stuck.fraction"), "value": float(f"{data.stuck_at:.{DIGITS}g}")}
    read = {name: value(name) for name in ("output_noise", "weight_noise", "input_noise")}
    return {"device": {"response": response} | device, "read": read}


def _findings(contest: Contest, kept: dict[str, float]) -> tuple[Finding, ...]:
    found = [
        Finding(
            "wild-estimates",
            f"{name}: {100 * (1 - share):.0f} % of the devices tell nothing of it and were left out",
            (),
        )
        for name, share in kept.items()
        if share < FEW
    ]
    if contest.misfit > POORLY:
        text = (
            f"{100 * contest.misfit:.0f} % of what predictions of the last sweep miss depends on weight and direction: "
            f"a {contest.chosen} response does not describe these devices well"
        )
        found.append(Finding("poor-family", text, ()))
    return tuple(found)
