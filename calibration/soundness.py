"""Which devices and lines are not sound: stuck devices, dead lines, saturated outputs, outliers."""

from dataclasses import dataclass
from statistics import NormalDist
from typing import final

import numpy as np
import torch

from rpudriver.calibration import kalman
from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.response_fit import Mask
from rpudriver.calibration.sweep_data import Floats, Sweep

OUTLIER = 5.0  # robust standard deviations
DEAD_SHARE = 0.9  # of the devices of a line that do not move: the line is at fault


@final
@dataclass(frozen=True, eq=False)
class Motion:
    """How far D devices travel between the ends of their legs, and which do not move.

    Attributes
    ----------
    travel, error : float64 ``[D]``.
    stuck : bool ``[D]``, whose travel is not significant.
    resolvable : float64 ``[D]``, the travel that is found in 999 of 1000 devices.
    """

    travel: Floats
    error: Floats
    stuck: Mask
    resolvable: Floats


def motion(sweep: Sweep, false_alarm: float) -> Motion:
    """Tell moving devices from stuck ones; one that never moves is taken for a moving one at the stated rate."""
    (top, top_error), (bottom, bottom_error) = sweep.end(kalman.UP), sweep.end(kalman.DOWN)
    travel, error = top - bottom, np.hypot(top_error, bottom_error)
    quantile = NormalDist().inv_cdf(1 - false_alarm / 2)
    stuck = ~(np.abs(travel) > quantile * error)
    return Motion(travel, error, stuck, (quantile + NormalDist().inv_cdf(0.999)) * error)


def line_findings(stuck: torch.Tensor, unread: torch.Tensor) -> tuple[Finding, ...]:
    """Return what is wrong with lines and stuck devices, given masks ``[n_out, n_in]`` and ``[n_out]``."""
    live = ~unread
    rows = live & (stuck.float().mean(1) > DEAD_SHARE)
    usable = stuck[live & ~rows]
    columns = usable.float().mean(0) > DEAD_SHARE if len(usable) else torch.zeros(stuck.shape[1], dtype=torch.bool)
    single = stuck & live[:, None] & ~rows[:, None] & ~columns[None, :]
    return (
        found_where(
            "saturated-output", "saturates whatever the input is; row not evaluated, check its read-out", unread
        )
        + found_where("dead-row", "no device moves; check the line's driver and contact", rows)
        + found_where("dead-column", "no device moves; check the line's driver and contact", columns)
        + found_where("stuck-device", "never moves", single)
    )


def outliers(values: list[Floats]) -> Mask:
    """Return which devices are far from the others in any quantity, on a linear and on a logarithmic scale."""
    result = np.zeros(len(values[0]), np.bool_)
    for value in values:
        with np.errstate(invalid="ignore", divide="ignore"):
            result |= (_robust_z(value) > OUTLIER) & (_robust_z(np.log(np.abs(value))) > OUTLIER)
    return result


def _robust_z(value: Floats) -> Floats:
    finite = np.isfinite(value)
    if finite.sum() < 8:
        return np.zeros(len(value))
    middle = np.median(value[finite])
    spread = 1.4826 * np.median(np.abs(value[finite] - middle))
    return np.where(finite, np.abs(value - middle) / max(spread, 1e-300), 0.0)
