"""Evaluation of a characterisation: from the reads in a data set to estimates, curves, findings and a summary."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.calibration import kalman
from rpudriver.calibration.device_estimates import UNITS, Estimate, estimates, fitting
from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.procedure import Data
from rpudriver.calibration.response_curve import measure_curve
from rpudriver.calibration.response_fit import WINDOW, Fit, Mask, fit_sweep
from rpudriver.calibration.soundness import Motion, line_findings, motion, outliers
from rpudriver.calibration.sweep import HOLDS, PHASES
from rpudriver.calibration.sweep_data import Floats, Sweep, read_errors, sweep_of

_NO_ESTIMATE = (
    "moves, but follows no smooth response: reaches a bound within two pulses, or is not at its bound at the end of a "
    "leg (a larger --span helps), or changed meanwhile"
)
UNSTEADY = 6.0  # standard deviations of the scatter of reads of one state beyond which a row is reported


@final
@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found.

    Attributes
    ----------
    estimates : by name, float64 ``[n_out * n_in]``; NaN for devices that are not `good`.
    good, stuck, outlier : bool ``[n_out * n_in]``.
    findings : what a user should look at.
    summary : plain numbers, as documented in docs/calibration.md.
    """

    estimates: dict[str, Estimate]
    good: Mask
    stuck: Mask
    outlier: Mask
    findings: tuple[Finding, ...]
    summary: dict[str, Any]


def evaluate(data: Data, false_alarm: float) -> Evaluation:
    """Evaluate a complete data set, and add to it what docs/calibration.md lists as evaluated."""
    data["weights/error"] = torch.from_numpy(read_errors(data))
    sweep, shape = sweep_of(data), tuple(data["weights/value"].shape[1:])
    readable = np.isfinite(sweep.weights).all(1)
    moving = motion(sweep, false_alarm)
    live = np.flatnonzero(readable & ~moving.stuck)
    fit = fit_sweep(sweep.of(live)) if len(live) else None
    found, good = _estimates(sweep, live, fit)
    found |= drifts(data)
    odd = outliers([found[name].value for name in ("dw_min", "w_max", "w_min", "symmetry_point")]) & good
    _add_to(data, sweep, found, good, moving.stuck & readable, odd, shape)
    grid = [
        torch.from_numpy(mask.reshape(shape))
        for mask in (moving.stuck & readable, ~good & readable & ~moving.stuck, odd)
    ]
    unread = torch.from_numpy(~readable.reshape(shape).all(1))
    findings = (
        _undithered(data)
        + line_findings(grid[0], unread)
        + found_where("no-estimate", _NO_ESTIMATE, grid[1])
        + found_where("outlier", "step, bound or symmetry point far from those of the others", grid[2])
        + found_where("unsteady-read", "reads of one state scatter by more than read noise explains", _unsteady(data))
    )
    summary = _summary(data, sweep, fit, found, good, moving, np.asarray(readable))
    return Evaluation(found, good, moving.stuck & readable, odd, findings, summary)


def _estimates(sweep: Sweep, live: npt.NDArray[np.intp], fit: Fit | None) -> tuple[dict[str, Estimate], Mask]:
    many = len(sweep.weights)
    good = np.zeros(many, np.bool_)
    nothing = np.full(many, np.nan)
    if fit is None:
        return {name: Estimate(nothing, nothing, nothing, nothing) for name in UNITS}, good
    part = sweep.of(live)
    fits = fitting(part, fit)
    good[live] = fits
    result = {}
    for name, each in estimates(part, fit).items():
        whole = [nothing.copy() for _ in range(4)]
        for target, values in zip(whole, (each.value, each.error, each.low, each.high), strict=True):
            target[live] = np.where(fits, values, np.nan)
        result[name] = Estimate(*whole)
    if fit.form == "local":  # the line holds near the symmetry point only
        near = np.abs(result["symmetry_point"].value) < WINDOW * (result["w_max"].value - result["w_min"].value)
        for name in ("dw_up", "dw_down"):
            result[name] = result[name].where(near)
    return result, good


def drifts(data: Data) -> dict[str, Estimate]:
    """Return the change of the weights while waiting, per second, at the symmetry point and at the upper end."""
    waits = np.flatnonzero(data["plan/phase"].numpy() == PHASES.index("wait"))
    values, error = data["weights/value"].double().numpy(), data["weights/error"].double().numpy()
    result = {}
    for name, read in zip(("drift", "drift_high"), waits, strict=False):
        seconds = float(data["plan/wait"][read])
        change = (values[read] - values[read - 1]) / seconds
        spread = np.hypot(error[read], error[read - 1])[:, None] / seconds
        result[name] = Estimate.normal(change.ravel(), np.broadcast_to(spread, change.shape).ravel())
    return result


def _add_to(
    data: Data, sweep: Sweep, found: dict[str, Estimate], good: Mask, stuck: Mask, odd: Mask, shape: tuple[int, ...]
) -> None:
    for name, each in found.items():
        for group, values in (("estimate", each.value), ("error", each.error), ("low", each.low), ("high", each.high)):
            data[f"{group}/{name}"] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    for name, mask in (("good", good), ("stuck", stuck), ("outlier", odd)):
        data[f"device/{name}"] = torch.from_numpy(mask.reshape(shape))
    curve = measure_curve(sweep)
    data["curve/weight"] = torch.from_numpy(curve.weight.astype(np.float32))
    for name in ("up", "down", "up_error", "down_error"):
        values = getattr(curve, name).reshape(-1, *shape)
        data[f"curve/{name}"] = torch.from_numpy(values.astype(np.float32))


def _held(data: Data) -> tuple[Floats, int]:
    """Return the scatter of the first reads over their variance for each row ``[n_out]``; its degrees of freedom."""
    values, error = data["weights/value"][:HOLDS].double().numpy(), data["weights/error"][:HOLDS].double().numpy()
    about = (values - values.mean(0)) / np.maximum(error, 1e-30)[:, :, None]
    freedom = (HOLDS - 1) * values.shape[2]
    return np.asarray(np.square(about).sum((0, 2)) / freedom), freedom


def _undithered(data: Data) -> tuple[Finding, ...]:
    if noise_floor(data)["read_noise"] is not None or not data["chip/output_step"]:
        return ()
    return (
        Finding(
            "undithered-read",
            "read noise is below half a step of the output converter, so that rounding repeats itself: errors and "
            "intervals are too small where many devices are alike",
            (),
        ),
    )


def _unsteady(data: Data) -> torch.Tensor:
    ratio, freedom = _held(data)
    return torch.from_numpy(ratio > 1 + UNSTEADY * math.sqrt(2 / freedom))


def _summary(
    data: Data, sweep: Sweep, fit: Fit | None, found: dict[str, Estimate], good: Mask, moving: Motion, readable: Mask
) -> dict[str, Any]:
    n_out, n_in = data["weights/value"].shape[1:]
    return {
        "devices": int(n_out * n_in),
        "evaluated": int(good.sum()),
        "stuck": int((moving.stuck & readable).sum()),
        "resolvable_travel": _plain(np.median(moving.resolvable[readable])) if readable.any() else None,
        "form": fit.form if fit else None,
        "common_c2c": _plain(fit.c2c) if fit else None,
        "weight_error": _plain(np.nanmean(sweep.error)) if readable.any() else None,
        "hold_ratio": _plain(np.nanmean(_held(data)[0])) if readable.any() else None,
        "pulses_per_device": int((data["plan/pulses"].abs() + 2 * data["plan/pairs"]).sum()),
        "reads": int(data["reads/vectors"].sum()) + 2 * data["floor/reads"].shape[1],
        "arrived_up": _plain(sweep.arrived(kalman.UP)[good].mean()) if good.any() else None,
        "arrived_down": _plain(sweep.arrived(kalman.DOWN)[good].mean()) if good.any() else None,
        "noise_floor": noise_floor(data),
        "population": {name: population(each) for name, each in found.items()},
    }


def noise_floor(data: Data) -> dict[str, Any]:
    """Return the noise of one output, rounding apart, and the offset; medians over the outputs.

    Noise of half a step of the converter or more makes rounding independent, with variance ``step^2 / 12``
    (Sheppard); with less, repeated reads of one vector tell nothing of it, and `read_noise` is None.
    """
    step = float(data["chip/output_step"])
    sd = data["floor/reads"].double().std(1).median(1).values
    rounding = step / math.sqrt(12)
    dithered = bool(sd[0] >= step / 2)
    offset = data["outputs/offset"].double().nanmean(0)
    vectors = int(data["reads/vectors"].sum())
    noise = float(data["outputs/noise"].double().square().nanmean().sqrt())
    return {
        "output_sd": _plain(sd[0]),
        "output_sd_with_input": _plain(sd[1]),
        "rounding": rounding,
        "read_noise": _plain(math.sqrt(max(0.0, float(sd[0]) ** 2 - rounding**2))) if dithered else None,
        "offset_median": _plain(offset.nanmedian()),
        "offset_largest": _plain(offset.nan_to_num(0.0).abs().max()),
        "offset_error": noise / math.sqrt(vectors) if dithered else rounding,
    }


def population(each: Estimate) -> dict[str, Any]:
    """Return how an estimate varies from device to device; `spread` is the standard deviation less its error's part."""
    known = np.isfinite(each.value)
    value, error = each.value[known], each.error[known]
    if not len(value):
        return {"devices": 0}
    low, median, high = np.quantile(value, [0.05, 0.5, 0.95])
    sd, mean_error2 = value.std(), np.square(error).mean()
    return {
        "devices": len(value),
        "mean": _plain(value.mean()),
        "mean_error": _plain(sd / math.sqrt(len(value))),
        "median": _plain(median),
        "q05": _plain(low),
        "q95": _plain(high),
        "sd": _plain(sd),
        "spread": _plain(math.sqrt(max(0.0, float(sd**2 - mean_error2)))),
        "median_error": _plain(np.median(error)),
    }


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
