"""The step against the weight without a formula: means over bins of the weight, for each device."""

from dataclasses import dataclass
from typing import final

import numpy as np

from rpudriver.calibration import kalman
from rpudriver.calibration.sweep_data import Floats, Sweep

BINS = 20
EDGE = 0.01  # share of all reads left out at either end of the range


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """Steps of D devices in B bins.

    Attributes
    ----------
    weight : float64 ``[B]``, centres of the bins.
    up, down : float64 ``[B, D]``, mean size of a step; NaN where a device was not seen.
    up_error, down_error : float64 ``[B, D]``, standard errors, by scatter or by read noise, the larger.
    """

    weight: Floats
    up: Floats
    down: Floats
    up_error: Floats
    down_error: Floats


def measure_curve(sweep: Sweep) -> Curve:
    """Return the steps between reads of the legs, each counted at the middle between its two reads.

    The error of a read moves a step and its middle; at the middle the two do not correlate, so noise does not bend the
    curve.
    """
    legs = np.concatenate([np.concatenate(parts) for parts in sweep.legs.values()])
    low, high = np.nanquantile(sweep.weights[:, legs], [EDGE, 1 - EDGE])
    edges = np.linspace(low, high, BINS + 1)
    up, up_error = _binned(sweep, kalman.UP, 1.0, edges)
    down, down_error = _binned(sweep, kalman.DOWN, -1.0, edges)
    return Curve((edges[1:] + edges[:-1]) / 2, up, down, up_error, down_error)


def _binned(sweep: Sweep, way: int, sign: float, edges: Floats) -> tuple[Floats, Floats]:
    reads = np.concatenate(sweep.legs[way])
    after, before = sweep.weights[:, reads], sweep.weights[:, reads - 1]
    count = sweep.count()[reads]
    step, where = sign * (after - before) / count, np.digitize((after + before) / 2, edges) - 1
    noise2 = (np.square(sweep.error[:, reads]) + np.square(sweep.error[:, reads - 1])) / np.square(count)
    mean, error = (np.full((len(edges) - 1, len(step)), np.nan) for _ in range(2))
    for number in range(len(mean)):
        chosen = where == number
        seen = chosen.sum(1)
        many = np.maximum(seen, 1)
        value = (step * chosen).sum(1) / many
        scatter2 = (np.square(step - value[:, None]) * chosen).sum(1) / np.maximum(seen - 1, 1)
        read2 = (noise2 * chosen).sum(1) / many
        mean[number] = np.where(seen > 0, value, np.nan)
        error[number] = np.where(seen > 0, np.sqrt(np.maximum(scatter2, read2) / many), np.nan)
    return mean, error
