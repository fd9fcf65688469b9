"""The response of every device from a sweep: which form the devices follow, and the parameters of each.

Three forms of a step that changes with the weight along a straight line: over the whole range (``soft``), cut off at
bounds that are measured by themselves (``hard``), or only near the symmetry point (``local``), where the response is
curved. The form is one for the whole array and is chosen by likelihood; see docs/calibration.md.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np
import numpy.typing as npt

from rpudriver.calibration import kalman
from rpudriver.calibration.sweep_data import Floats, Ints, Sweep
from rpudriver.keyed import threads

NANOSECONDS = 1600.0  # of one read of one device in a whole fit
SAMPLE = 256  # devices on which the form is chosen, and the common c2c noise is found
STEEP = 0.5  # change of the step with the weight beyond which two pulses reach the bound: no Gaussian model holds
WINDOW = 0.1  # half width of the neighbourhood of the symmetry point, in parts of the range, for curved responses
DECISIVE = 5.0  # gain of the logarithm of the likelihood in the typical device for which bounds are taken to be hard
CURVED = 1.5  # a straight line that is off by that many standard errors in the typical device is refused
SPREAD = 0.1  # least relative spread of the variance of c2c noise from device to device
CLIP = 10.0  # of the score of one device, in standard deviations
FREE = np.zeros((2, 2))

Mask = npt.NDArray[np.bool_]


@final
@dataclass(frozen=True, eq=False)
class Fit:
    """Parameters of D devices, in the order of `kalman`.

    Attributes
    ----------
    form : ``soft``, ``hard`` or ``local``.
    theta, covariance : float64 ``[D, 6]`` and ``[D, 6, 6]``, the c2c noise drawn towards its common value.
    free, free_covariance : the same from the device's own reads alone; for c2c and write noise.
    value : float64 ``[D]``, minus the logarithm of the restricted likelihood of `free`.
    found : bool ``[D]``, whether the search ended.
    c2c : the common value.
    """

    form: str
    theta: Floats
    covariance: Floats
    free: Floats
    free_covariance: Floats
    value: Floats
    found: Mask
    c2c: float


def fit_sweep(sweep: Sweep) -> Fit:
    """Return the parameters of all devices of a sweep."""
    many = len(sweep.weights)
    sample = sweep.of(np.unique(np.linspace(0, many - 1, min(SAMPLE, many)).astype(np.int64)))
    form = choose_form(sample)
    trial = _free(sample, form)
    prior = _common_c2c(sample, trial)
    best = _free(sweep, form)
    theta = best.free.copy()
    theta[:, kalman.C2C2] = prior[0, 0]
    covariance, _, found = _run(sweep, theta, prior, form)
    return replace(best, theta=theta, covariance=covariance, found=found & best.found, c2c=float(np.sqrt(prior[0, 0])))


def choose_form(sweep: Sweep) -> str:
    """Return the form that some devices follow."""
    soft, hard = _free(sweep, "soft"), _free(sweep, "hard")
    sound = np.isfinite(soft.value) & np.isfinite(hard.value)
    gain = np.median(soft.value[sound] - hard.value[sound]) if sound.any() else 0.0
    better = hard if gain > DECISIVE else soft
    shapes = curvature(sweep, better)
    return "local" if np.abs(np.nanmedian(shapes, 0)).max() > CURVED else better.form


def curvature(sweep: Sweep, fit: Fit) -> Floats:
    """Return how far the steps up and down of each device are off a straight line, in standard errors ``[D, 2]``."""
    weight, score = innovations(sweep, fit)
    result = np.full((len(weight), 2), np.nan)
    for column, way in enumerate((kalman.UP, kalman.DOWN)):
        reads = np.concatenate(sweep.legs[way])
        x, z = weight[:, reads], score[:, reads]
        x = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-30)
        bent = x * x - (x**3).mean(1, keepdims=True) * x - 1.0
        norm = np.sqrt(np.square(bent).sum(1))
        result[:, column] = np.where(norm > 1e-9, (bent * z).sum(1) / (norm + 1e-30), np.nan)
    return result


def innovations(sweep: Sweep, fit: Fit) -> tuple[Floats, Floats]:
    """Return the weight that was predicted before each stage, and the standardised innovation after it, ``[D, K]``."""
    weight, score = np.zeros(sweep.weights.shape), np.zeros(sweep.weights.shape)
    stages, bounds = _stages(sweep, fit.form), _bounds(sweep, fit.form)
    for n in range(len(weight)):
        kalman.innovations(
            sweep.weights[n], np.square(sweep.error[n]), stages[n], sweep.kinds, sweep.counts, bounds[n],
            fit.theta[n], weight[n], score[n],
        )  # fmt: skip
    return weight, score


def _free(sweep: Sweep, form: str) -> Fit:
    """Return the better of two searches, which start from two simple estimates."""
    parts = []
    for start in (_from_area(sweep) if form != "hard" else _from_pace(sweep), _from_steps(sweep)):
        theta = start.copy()
        covariance, value, found = _run(sweep, theta, FREE, form)
        parts.append((theta, covariance, value, found))
    (a, cov_a, value_a, found_a), (b, cov_b, value_b, found_b) = parts
    second = ~(value_a <= value_b)
    theta, covariance = np.where(second[:, None], b, a), np.where(second[:, None, None], cov_b, cov_a)
    value, found = np.where(second, value_b, value_a), np.where(second, found_b, found_a)
    return Fit(form, theta, covariance, theta, covariance, value, found, float("nan"))


def _common_c2c(sweep: Sweep, fit: Fit) -> Floats:
    """Return mean and inverse variance of the c2c variance over devices, as a prior.

    A device tells little of its own c2c noise where reads are noisy; taken by itself it would often be called
    noiseless, and the errors of its steps would be too small. The mean is where the scores of all devices cancel.
    """
    common = max(1e-6, float(np.median(fit.free[fit.found, kalman.C2C2]))) if fit.found.any() else 0.1
    stiff, spread2 = 1e8, 0.0
    for _ in range(4):
        theta = fit.free.copy()
        theta[:, kalman.C2C2] = common
        covariance, _, found = _run(sweep, theta, np.array([[common, stiff], [0.0, 0.0]]), fit.form)
        information = 1.0 / np.maximum(covariance[:, kalman.C2C2, kalman.C2C2], 1e-300) - stiff
        flat = np.abs(theta[:, [kalman.B_UP, kalman.B_DOWN]]).max(1) < STEEP
        used = found & flat & (information > 0)
        if not used.any():
            break
        root = np.sqrt(information[used])
        score = np.clip(stiff * (theta[used, kalman.C2C2] - common) / root, -CLIP, CLIP)
        common = max(0.1 * common, common + float((score * root).sum() / information[used].sum()))
        spread2 = max(0.0, float((np.square(score) - 1.0).sum() / information[used].sum()))
    variance = max((SPREAD * common) ** 2, spread2)
    return np.array([[common, 1.0 / variance], [0.0, 0.0]])


def _run(sweep: Sweep, theta: Floats, prior: Floats, form: str) -> tuple[Floats, Floats, Mask]:
    """Improve `theta` in place; return covariances, values, and whether the searches ended."""
    many = len(theta)
    covariance, value = np.full((many, kalman.COUNT, kalman.COUNT), np.nan), np.full(many, np.inf)
    found = np.zeros(many, np.bool_)
    work = partial(
        kalman.fit_rows, sweep.weights, np.square(sweep.error), _stages(sweep, form), sweep.kinds, sweep.counts,
        _bounds(sweep, form), sweep.step, np.ascontiguousarray(prior, np.float64), theta, covariance, value, found,
    )  # fmt: skip
    threads.share(many, work, NANOSECONDS * many * sweep.weights.shape[1])
    return covariance, value, found


def _bounds(sweep: Sweep, form: str) -> Floats:
    """Return the bounds of each device ``[D, 2]``; upside down where the response needs none."""
    bounds = np.tile([1.0, -1.0], (len(sweep.weights), 1))
    if form == "hard":
        for column, way, none in ((0, kalman.DOWN, -np.inf), (1, kalman.UP, np.inf)):
            bounds[:, column] = np.where(sweep.arrived(way), sweep.end(way)[0], none)
    return bounds


def _stages(sweep: Sweep, form: str) -> Ints:
    """Return the stage before each read ``[D, K]``; -1 where one is left out and the filter restarts.

    Of hard bounds, the first pairs of pulses after a leg: at a bound the first pulse of a pair may be lost. Of curved
    responses, all that is far from the symmetry point.
    """
    stages = np.broadcast_to(sweep.stage, sweep.weights.shape)
    if form == "soft":
        return np.asarray(stages)
    if form == "hard":
        pairs = sweep.kind() == kalman.PAIRS
        return np.where(pairs & ~np.concatenate([[False], pairs[:-1]]), -1, stages)
    half = WINDOW * (sweep.end(kalman.UP)[0] - sweep.end(kalman.DOWN)[0])
    near = np.abs(_path(sweep) - resting_point(sweep)[:, None]) <= half[:, None]
    both = near.copy()
    both[:, 1:] &= near[:, :-1]
    return np.where(both, stages, -1)


def resting_point(sweep: Sweep) -> Floats:
    """Return where alternating pulses leave the devices ``[D]``: the mean of the last half of each run of them."""
    pairs = sweep.kind() == kalman.PAIRS
    runs = [np.flatnonzero(pairs & (sweep.cycle == run)) for run in np.unique(sweep.cycle[pairs])]
    return np.asarray(sweep.weights[:, np.concatenate([run[len(run) // 2 :] for run in runs])].mean(1))


def _path(sweep: Sweep) -> Floats:
    """Return the weights averaged over cycles, so that what is chosen by them depends little on the noise of a read."""
    path = sweep.weights.copy()
    for way in (kalman.UP, kalman.DOWN):
        whole = np.stack(sweep.legs[way])
        path[:, whole] = path[:, whole].mean(1, keepdims=True)
    return path


def _from_area(sweep: Sweep) -> Floats:
    """Return parameters for a start: the rate at which legs approach their ends, from the area between."""
    theta = np.zeros((len(sweep.weights), kalman.COUNT))
    count = sweep.count()
    for way, level, slope, sign in ((kalman.UP, 0, 1, 1.0), (kalman.DOWN, 2, 3, -1.0)):
        end, _ = sweep.end(way)
        gain, area = np.zeros(len(theta)), np.zeros(len(theta))
        for leg in sweep.legs[way]:
            path = sweep.weights[:, leg[0] - 1 : leg[-1] + 1]
            gain += sign * (end - path[:, 0])
            area += (sign * (end[:, None] - (path[:, 1:] + path[:, :-1]) / 2) * count[leg]).sum(1)
        rate = np.clip(gain / np.maximum(area, 1e-30), 1e-4 * sweep.step, 0.7)
        theta[:, level], theta[:, slope] = sign * rate * end, -sign * rate
    theta[:, kalman.C2C2], theta[:, kalman.WRITE2] = 0.1, 0.1 * sweep.step**2
    return theta


def _from_pace(sweep: Sweep) -> Floats:
    """Return parameters for a start: constant steps, those of the faster part of the legs."""
    theta = np.zeros((len(sweep.weights), kalman.COUNT))
    for way, level in ((kalman.UP, kalman.A_UP), (kalman.DOWN, kalman.A_DOWN)):
        reads = np.concatenate(sweep.legs[way])
        step = np.abs(sweep.weights[:, reads] - sweep.weights[:, reads - 1]) / sweep.count()[reads]
        theta[:, level] = np.quantile(step, 0.8, axis=1)
    theta[:, kalman.C2C2] = 0.01  # little, so that devices without noise are found, too
    return theta


def _from_steps(sweep: Sweep) -> Floats:
    """Return parameters for a start: a straight line through the steps between reads against their middles."""
    theta = np.zeros((len(sweep.weights), kalman.COUNT))
    kind, count = sweep.kind(), sweep.count()
    for way, level, slope, sign in ((kalman.UP, 0, 1, 1.0), (kalman.DOWN, 2, 3, -1.0)):
        reads = 1 + np.flatnonzero(kind[1:] == way)
        y = sign * (sweep.weights[:, reads] - sweep.weights[:, reads - 1]) / count[reads]
        x = (sweep.weights[:, reads] + sweep.weights[:, reads - 1]) / 2
        about = x - x.mean(1, keepdims=True)
        theta[:, slope] = (about * y).sum(1) / np.maximum(np.square(about).sum(1), 1e-30)
        theta[:, level] = y.mean(1) - theta[:, slope] * x.mean(1)
    theta[:, kalman.C2C2], theta[:, kalman.WRITE2] = 0.1, 0.1 * sweep.step**2
    return theta
