"""Fit a response family to the sweeps of many devices: parameters of each, and the noise that all share."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from rpudriver.calibration import response_filter as rf

Floats = npt.NDArray[np.float64]

ROUNDS = 3  # of the devices' parameters and the shared noise in turn
ITERATIONS = 30
CONVERGED = 0.02  # standard errors that the last step may have
DAMPING = 1e-3
NUDGE = 1e-4  # of what is varied, for derivatives: logarithms of parameters, and the imbalance
LONGEST = 0.5  # step of a parameter's logarithm at once
STEEPEST = 20.0  # gamma
LEAST_LEFT = 0.1  # of an innovation, where it still tells of noise
START_NOISE = np.array([0.09, 0.0, 0.0])  # 30 % from cycle to cycle
ALL, CYCLE_TO_CYCLE = np.array([True, True, True]), np.array([True, False, False])
SURE = 2.0  # standard errors that additive and write noise must have to be believed
_TINY = 1e-12
FLOOR = 1e-4  # least variance of an innovation, in squared steps: where nothing is noisy


@final
@dataclass(frozen=True, eq=False)
class Sweeps:
    """What was measured on D devices in K reads.

    Attributes
    ----------
    kinds, counts : int64 arrays ``[K]``, see `response_filter.innovations`.
    cycle : int64 array ``[K]``, number of the sweep.
    weights, variances : float64 arrays ``[D, K]``, as read, and the variance of such a read.
    dw_min : step of the nominal device.
    most : pulses taken in one step.
    """

    kinds: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    cycle: npt.NDArray[np.int64]
    weights: Floats
    variances: Floats
    dw_min: float
    most: int

    def of(self, devices: npt.NDArray[Any]) -> "Sweeps":
        """Return the sweeps of some devices, by numbers or mask."""
        return replace(self, weights=self.weights[devices], variances=self.variances[devices])


@final
@dataclass(frozen=True, eq=False)
class DeviceFit:
    """A family fitted to sweeps.

    Attributes
    ----------
    family : number in `response_filter.FAMILIES`.
    theta, errors : float64 arrays ``[D, 4]``, parameters of each device and their standard errors.
    noise, noise_error : float64 arrays ``[3]``, variances, see `response_filter`, and their standard errors.
    table : float64 array ``[3, B]``
    scores : float64 array ``[D, K]``, negative logarithm of the likelihood of each read (log score).
    innovations, spread : float64 arrays ``[D, K]``, and their predicted variances.
    """

    family: int
    theta: Floats
    errors: Floats
    noise: Floats
    noise_error: Floats
    table: Floats
    scores: Floats
    innovations: Floats
    spread: Floats


def fit_devices(sweeps: Sweeps, family: int, start: Floats, table: Floats, used: npt.NDArray[np.bool_]) -> DeviceFit:
    """Return the fit of a family: Gauss-Newton on weighted innovations, noise by scoring, in turn.

    Parameters
    ----------
    start : float64 array ``[D, 4]``, parameters to start from.
    used : bool array ``[K]``, reads that are fitted; the others only show where the devices are.
    """
    theta, noise = start, START_NOISE
    for _ in range(ROUNDS):
        theta = _gauss_newton(_Problem(sweeps, family, noise, table, used), theta)
        noise, noise_error = _score_noise(_Problem(sweeps, family, noise, table, used), theta, ALL)
    sure = ALL & ((noise > SURE * noise_error) | CYCLE_TO_CYCLE)
    if not sure.all():  # what may be nothing is nothing; its error says how much it may be all the same
        at_most = noise_error + noise / SURE
        noise, noise_error = _score_noise(_Problem(sweeps, family, noise * sure, table, used), theta, sure)
        noise_error = np.where(sure, noise_error, at_most)
    problem = _Problem(sweeps, family, noise, table, used)
    nu, s = problem.filtered(theta)
    normal, _ = problem.equations(theta, nu, s)
    errors = np.sqrt(np.diagonal(_inverse(normal), axis1=1, axis2=2)) * _chain(theta)
    unknown = np.diagonal(normal, axis1=1, axis2=2) <= _TINY * normal.max((1, 2))[:, None]
    scores = 0.5 * (np.log(s) + nu**2 / s)
    return DeviceFit(family, theta, np.where(unknown, np.inf, errors), noise, noise_error, table, scores, nu, s)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is held while parameters of devices are varied."""

    sweeps: Sweeps
    family: int
    noise: Floats
    table: Floats
    used: npt.NDArray[np.bool_]

    def filtered(self, theta: Floats, noise: Floats | None = None) -> tuple[Floats, Floats]:
        """Return innovations and their variances."""
        sweeps = self.sweeps
        nu, s = np.empty_like(sweeps.weights), np.empty_like(sweeps.weights)
        stages = self.family, sweeps.kinds, sweeps.counts, sweeps.most
        held = self.noise if noise is None else noise
        rf.innovations(*stages, sweeps.weights, sweeps.variances, theta, held, self.table, nu, s)
        return nu, s + FLOOR * sweeps.dw_min**2

    def jacobian(self, theta: Floats, nu: Floats) -> Floats:
        """Return the derivatives of the innovations by what is varied, ``[D, K, 4]``."""
        jacobian = np.empty((*nu.shape, theta.shape[1]))
        for n in range(theta.shape[1]):
            by = np.zeros_like(theta)
            by[:, n] = NUDGE
            jacobian[:, :, n] = (self.filtered(_moved(theta, by))[0] - nu) / NUDGE
        return jacobian

    def equations(self, theta: Floats, nu: Floats, s: Floats) -> tuple[Floats, Floats]:
        """Return the normal equations of all devices: matrices ``[D, 4, 4]`` and right sides ``[D, 4]``."""
        jacobian = self.jacobian(theta, nu)
        weighted = jacobian * (self.used / s)[:, :, None]
        return jacobian.transpose(0, 2, 1) @ weighted, (weighted * nu[:, :, None]).sum(1)

    def of(self, devices: npt.NDArray[Any]) -> "_Problem":
        return replace(self, sweeps=self.sweeps.of(devices))


def _chain(theta: Floats) -> Floats:
    """Return the derivatives of parameters by what is varied."""
    chain = theta.copy()
    chain[:, rf.IMBALANCE] = 1.0
    return chain


def _moved(theta: Floats, by: Floats) -> Floats:
    """Return parameters moved by steps of what is varied, kept where a device can be."""
    moved = np.clip(theta * np.exp(by), 1e-9, 1e3)
    moved[:, rf.IMBALANCE] = np.clip(theta[:, rf.IMBALANCE] + by[:, rf.IMBALANCE], -0.95, 0.95)
    return moved


def _inverse(normal: Floats) -> Floats:
    """Return the inverse of normal matrices, scaled beforehand; what the data do not tell comes out large."""
    scale = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), _TINY * normal.max((1, 2))[:, None] + 1e-300))
    scaled = normal / scale[:, :, None] / scale[:, None, :] + _TINY * np.eye(normal.shape[1])
    inverse: Floats = np.linalg.inv(scaled) / scale[:, :, None] / scale[:, None, :]
    return inverse


def _gauss_newton(problem: _Problem, theta: Floats) -> Floats:
    """Return the parameters at which weighted innovations are least, with damping for each device (Levenberg 1944).

    Innovations keep the weights that they had: their variance is not to be fitted by the parameters of the step.
    """
    theta, left = theta.copy(), np.arange(len(theta))
    damping = np.full(len(theta), DAMPING)
    for _ in range(ITERATIONS):
        now, there = problem.of(left), theta[left]
        nu, s = now.filtered(there)
        normal, slope = now.equations(there, nu, s)
        diagonal = np.diagonal(normal, axis1=1, axis2=2)
        ridge = damping[left, None] * diagonal + _TINY * (1 + diagonal.max(1, keepdims=True))
        by = -np.linalg.solve(normal + np.eye(4) * ridge[:, None, :], slope[:, :, None])[:, :, 0]
        tried = _moved(there, np.clip(by, -LONGEST, LONGEST))
        if problem.family in (rf.POWER, rf.EXPONENTIAL):
            tried[:, rf.SECOND] = np.minimum(tried[:, rf.SECOND], STEEPEST)
        after = now.filtered(tried)[0]
        better = (after**2 / s * now.used).sum(1) <= (nu**2 / s * now.used).sum(1)
        theta[left[better]] = tried[better]
        damping[left] = np.clip(np.where(better, damping[left] / 5, damping[left] * 10), 1e-6, 1e9)
        small = np.einsum("di,dij,dj->d", by, normal, by) < CONVERGED**2
        left = left[~(small | (damping[left] >= 1e9))]
        if not len(left):
            break
    return theta


def _score_noise(problem: _Problem, theta: Floats, varied: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return variances of pulse and write noise at which innovations are as large as predicted, and their errors.

    Fisher scoring. A device's own parameters took their share of an innovation, its leverage h: its square is
    ``(1 - h) s`` on average. Standard errors from the scatter of the scores between devices (sandwich).
    """
    size = np.array([0.01, 0.01, 0.01 * problem.sweeps.dw_min**2])
    nu, s = problem.filtered(theta)
    jacobian = problem.jacobian(theta, nu)
    inverse = _inverse(jacobian.transpose(0, 2, 1) @ (jacobian * (problem.used / s)[:, :, None]))
    left = 1 - ((jacobian @ inverse) * jacobian).sum(2) / s
    noise, used = problem.noise, problem.used & (left > LEAST_LEFT)
    for _ in range(ITERATIONS):
        nu, s = problem.filtered(theta, noise)
        slopes = [(problem.filtered(theta, noise + step)[1] - s) / step.sum() for step in np.diag(size)]
        relative = np.stack(slopes, 2) * size / s[:, :, None]
        scores = ((nu**2 / left / s - 1) * used)[:, :, None] * relative
        information = np.einsum("dkn,dk,dkm->nm", relative, used.astype(np.float64), relative, optimize=True)
        information += (_TINY * np.trace(information) + _TINY) * np.eye(3)
        rises = (noise > 0) | (scores.sum((0, 1)) > 0)  # a variance that is 0 and would fall stays there
        free = varied & rises & (np.diagonal(information) > 2 * _TINY)
        by = np.zeros(3)
        by[free] = np.linalg.solve(information[np.ix_(free, free)], scores.sum((0, 1))[free])
        new = np.maximum(noise + by * size, 0)
        done = bool((np.abs(new - noise) < 1e-3 * size).all())
        noise = new
        if done:
            break
    by_device = scores.sum(1)[:, varied]
    inside = information[np.ix_(varied, varied)]
    covariance = np.linalg.solve(inside, np.linalg.solve(inside, by_device.T @ by_device).T)
    error = np.zeros(3)
    error[varied] = np.sqrt(np.diagonal(covariance)) * size[varied]
    return noise, error
