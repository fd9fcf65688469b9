"""What a twin needs of a characterisation: sweeps of live devices, the noise of reading, stuck devices."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.calibration import response_filter as rf
from rpudriver.calibration.device_fit import Sweeps
from rpudriver.errors import CalibrationError
from rpudriver.keyed import arrays as keyed

Floats = npt.NDArray[np.float64]

FEWEST_DEVICES = 50  # a spread to 10 %
FEWEST_CYCLES = 2  # one to fit, one to predict
FINE = 0.005  # of the states, in one step of the prediction
STUCK = 6.0  # standard deviations of a scatter beyond that of reading: this device moves
STILL = 0.25  # nominal steps that a device which never moves may seem to move, where reads have no noise


@final
@dataclass(frozen=True, eq=False)
class TwinData:
    """The part of a characterisation that a twin is fitted to.

    Attributes
    ----------
    sweeps : of the chosen live devices.
    stuck, live : how many devices never move, and how many do.
    stuck_at : mean weight of the stuck ones, 0 without any.
    states : of the nominal device.
    noise, noise_error : ``output_noise``, ``weight_noise``, ``input_noise``; and their standard errors.
    """

    sweeps: Sweeps
    stuck: int
    live: int
    stuck_at: float
    states: float
    noise: tuple[float, float, float]
    noise_error: tuple[float, float, float]


def twin_data(data: dict[str, Any], complete: bool, devices: int, seed: int) -> TwinData:
    """Return what a twin is fitted to.

    Parameters
    ----------
    data : entries of a characterisation's data set.
    complete : whether that measurement came to its end.
    devices : live devices to use, drawn at random from the seed; all where there are fewer.

    Raises
    ------
    CalibrationError
        If the data set is of another kind or incomplete, has too few devices or cycles, or if nothing moves in one
        direction.
    """
    _check_kind(data, complete)
    weights, variances, kinds, counts, cycle = _reads(data)
    if int(cycle.max()) + 1 < FEWEST_CYCLES:
        raise CalibrationError(
            f"the data set has {int(cycle.max()) + 1} sweep; a twin needs {FEWEST_CYCLES}, one to fit and one to "
            "predict: characterise with --cycles 3"
        )
    known = np.isfinite(weights).all(1)
    step = float(data["chip/dw_min"])
    moves = _moves(weights, variances, step)
    live = np.flatnonzero(known & moves)
    stuck = np.flatnonzero(known & ~moves)
    if not len(live):
        raise CalibrationError(
            f"none of {len(weights)} devices moves by more than reading noise: are pulses wired and strong enough?"
        )
    if len(live) < FEWEST_DEVICES:
        raise CalibrationError(
            f"{len(live)} live devices of {len(weights)}; a twin needs {FEWEST_DEVICES} for their spread: characterise "
            "a larger array"
        )
    _check_directions(weights[live], kinds)
    chosen = _draw(live, devices, seed)
    states = (float(data["chip/w_max"]) - float(data["chip/w_min"])) / step
    sweeps = Sweeps(kinds, counts, cycle, weights[chosen], variances[chosen], step, max(1, int(FINE * states)))
    at = float(weights[stuck].mean()) if len(stuck) else 0.0
    return TwinData(sweeps, len(stuck), len(live), at, states, *_reading(data))


def _check_kind(data: dict[str, Any], complete: bool) -> None:
    needed = ("plan/phase", "plan/pulses", "weights/value", "outputs/noise", "outputs/factor", "floor/reads")
    missing = [name for name in needed if name not in data]
    if missing:
        raise CalibrationError(
            f"the data set has no {missing[0]}: it is no characterisation; give the dataset.h5 of "
            "`rpudriver calibrate characterise`"
        )
    done, total = int(data["plan/done"]), len(data["plan/phase"])
    if not complete or done < total:
        raise CalibrationError(
            f"the characterisation is incomplete: {done} of {total} reads; finish it with "
            "`rpudriver calibrate characterise --resume`"
        )


def _numpy(value: torch.Tensor) -> Floats:
    return np.asarray(value, np.float64)


def _reads(
    data: dict[str, Any],
) -> tuple[Floats, Floats, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return weights and variances ``[D, K]``, kinds, counts and cycles ``[K]``.

    The first read is the mean of all before the first pulse. Later ones without a pulse before them are left out:
    they have the write noise of the read before.
    """
    pulses, pairs = (np.asarray(data[f"plan/{name}"], np.int64) for name in ("pulses", "pairs"))
    moved = np.flatnonzero((pulses != 0) | (pairs != 0))
    if not len(moved):
        raise CalibrationError("the characterisation sent no pulses; characterise again")
    weights, factor = _numpy(data["weights/value"]), _numpy(data["outputs/factor"])
    noise2 = np.nanmean(_numpy(data["outputs/noise"]) ** 2, axis=0)  # of an output: the same in all reads
    variance = (factor**2 * noise2)[:, :, None] + np.zeros_like(weights)
    first = moved[0]
    weights = np.concatenate([weights[:first].mean(0, keepdims=True), weights[moved]])
    variance = np.concatenate([variance[:first].mean(0, keepdims=True) / first, variance[moved]])
    kinds = np.where(pairs > 0, rf.PAIRS, np.where(pulses > 0, rf.UP, rf.DOWN))[moved]
    counts = np.maximum(np.abs(pulses), pairs)[moved]
    cycle = np.asarray(data["plan/cycle"], np.int64)[moved]
    flat, of_reads = weights.reshape(len(weights), -1).T, variance.reshape(len(weights), -1).T
    start = np.zeros(1, np.int64)
    return (
        np.ascontiguousarray(flat),
        np.ascontiguousarray(of_reads),
        np.concatenate([start, kinds]),
        np.concatenate([start, counts]),
        np.concatenate([start, cycle]),
    )


def _moves(weights: Floats, variances: Floats, step: float) -> npt.NDArray[np.bool_]:
    """Return which devices scatter more than reading does."""
    scatter = ((weights - weights.mean(1, keepdims=True)) ** 2).sum(1)
    expected = variances.sum(1)
    by_chance = np.sqrt(2 * (variances**2).sum(1))
    still = (STILL * step) ** 2 * weights.shape[1]
    moves: npt.NDArray[np.bool_] = scatter > expected + STUCK * by_chance + still
    return moves


def _check_directions(weights: Floats, kinds: npt.NDArray[np.int64]) -> None:
    """Raise where pulses in one direction do not move the devices that way: each leg is compared end to end."""
    steps = np.diff(weights, axis=1)
    for kind, way, name in ((rf.UP, 1.0, "up"), (rf.DOWN, -1.0, "down")):
        there = kinds[1:] == kind
        if not there.any():
            raise CalibrationError(f"the characterisation has no pulses {name}; a twin needs both directions")
        moved = way * steps[:, there].sum(1)
        error = steps[:, there].std() * math.sqrt(there.sum())
        if np.median(moved) <= 0.1 * error:
            raise CalibrationError(
                f"pulses {name} do not move devices {name} (median {np.median(moved):+.3g} in all); check their "
                "voltage and polarity"
            )


def _draw(cells: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    words = keyed.draw(keyed.key(seed, "twin/devices", 0), cells, 0)
    chosen: npt.NDArray[np.int64] = np.sort(cells[np.argsort(words, kind="stable")[:count]])
    return chosen


def _reading(data: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return output, weight and input noise and their standard errors.

    Without input an output scatters by the output noise and the rounding of its converter, ``step^2 / 12``; with inputs
    of +-a besides by ``a^2 n_in`` times the squared weight noise and ``sum w^2`` times the squared input noise.
    """
    reads = _numpy(data["floor/reads"])  # [2, R, n_out]
    amplitude, rounding = float(data["floor/amplitude"][1]), float(data["chip/output_step"]) ** 2 / 12
    variance, count = reads.var(1, ddof=1), reads.shape[1]
    quiet = max(0.0, float(np.nanmean(variance[0])) - rounding)
    quiet_error = math.sqrt(2 / (count * variance.shape[1])) * (quiet + rounding)
    weights = _numpy(data["weights/value"])[3]
    design = np.stack([np.full(len(weights), amplitude**2 * weights.shape[1]), (weights**2).sum(1)], 1)
    excess = variance[1] - variance[0]
    usable = np.isfinite(excess) & np.isfinite(design).all(1)
    error = math.sqrt(4 / count) * float(np.nanmean(variance[0]))
    found = np.zeros(2)
    found_error = np.full(2, error / math.sqrt(max(1, usable.sum()))) / design[usable].mean(0).clip(1e-12)
    told = design[usable].mean(0) > 0  # weights of 0 say nothing of noise on the inputs
    for n in np.flatnonzero(told)[np.argsort(-design[usable].mean(0)[told])]:  # the likelier kind explains it
        value = float(design[usable, n] @ excess[usable] / (design[usable, n] @ design[usable, n]))
        if value > 4 * found_error[n]:
            found[n] = value
            break
    roots = np.sqrt([quiet, *found])
    errors = np.array([quiet_error, *found_error]) / (2 * np.maximum(roots, 1e-12))
    errors = np.where(roots > 0, errors, np.sqrt([quiet_error, *found_error]))
    return (float(roots[0]), float(roots[1]), float(roots[2])), (float(errors[0]), float(errors[1]), float(errors[2]))
