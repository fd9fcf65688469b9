import numpy as np
import pytest

from rpudriver.calibration import kalman as k

THETA = np.array([0.05, -0.08, 0.04, 0.10, 0.16, 0.0])  # steps 0.05 and 0.04 at 0, c2c 0.4


def simulate(theta: np.ndarray, kind: int, count: int, w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    for _ in range(count):
        for up in {k.UP: (True,), k.DOWN: (False,), k.PAIRS: (True, False)}[kind]:
            noise = 1 + np.sqrt(theta[k.C2C2]) * rng.standard_normal(w.shape)
            step = theta[0] + theta[1] * w if up else -(theta[2] + theta[3] * w)
            w = w + step * noise
    return w


@pytest.mark.parametrize(("kind", "count"), [(k.UP, 1), (k.UP, 7), (k.DOWN, 5), (k.PAIRS, 1), (k.PAIRS, 6)])
def test_moments_of_a_stage_are_those_of_pulses(kind: int, count: int) -> None:
    rng = np.random.default_rng(5)
    many = 400_000
    start = 0.2 + 0.05 * rng.standard_normal(many)
    end = simulate(THETA, kind, count, start, rng)
    a, b, s2, s1, s0 = k._stage_map(THETA, kind, count)
    mean, variance = a * 0.2 + b, s2 * (0.2**2 + 0.05**2) + s1 * 0.2 + s0
    variance -= mean**2
    # the mean of 400 000 is known to sd / 632, the variance to 0.22 % (normal) and a little more: five times that
    assert abs(end.mean() - mean) < 5 * np.sqrt(variance / many)
    assert end.var() == pytest.approx(variance, rel=0.015)


def test_a_bound_cuts_a_normal_distribution_off() -> None:
    rng = np.random.default_rng(6)
    for mean in (-0.5, 0.9, 1.3):
        cut = np.minimum(mean + 0.3 * rng.standard_normal(400_000), 1.0)
        found = k._below(mean, 0.09, 1.0)
        assert found[0] == pytest.approx(cut.mean(), abs=0.003)
        assert found[1] == pytest.approx(cut.var(), abs=0.001)
    assert k._cut(-2.0, 0.01, -1.0, 1.0) == pytest.approx((-1.0, 0.0), abs=1e-6)
    assert k._cut(0.5, 0.01, -np.inf, np.inf) == pytest.approx((0.5, 0.01))


def sweep(rng: np.random.Generator, write: float, read: float) -> tuple[np.ndarray, np.ndarray]:
    """Return reads of one device, and the stage before each: up, down, up, down, then pairs, by 4 pulses a time."""
    stages = ([0] * 25 + [1] * 25) * 2 + [2] * 20
    w, y = np.zeros(1), [0.0]
    for stage in stages:
        w = simulate(THETA, (k.UP, k.DOWN, k.PAIRS)[stage], 4, w, rng)
        y.append(float(w[0] + write * rng.standard_normal() + read * rng.standard_normal()))
    return np.array(y), np.array([0, *stages])


def test_estimates_and_intervals_of_many_devices() -> None:
    rng = np.random.default_rng(7)
    many, write, read = 400, 0.03, 0.02
    runs = [sweep(rng, write, read) for _ in range(many)]
    y, stage = np.stack([run[0] for run in runs]), np.stack([run[1] for run in runs])
    theta = np.tile(np.array([0.03, -0.03, 0.03, 0.03, 0.1, 1e-4]), (many, 1))
    covariance, value, found = np.zeros((many, 6, 6)), np.zeros(many), np.zeros(many, np.bool_)
    kinds, counts = np.array([k.UP, k.DOWN, k.PAIRS]), np.array([4, 4, 4])
    for prior in (np.zeros((2, 2)), np.array([[0.16, 1 / 0.016**2], [0.0, 0.0]])):
        free = theta.copy()  # of the first round; in the second the c2c noise is known, as it is from all devices
        k.fit_rows(
            y, np.full(y.shape, read**2), stage, kinds, counts, np.tile([1.0, -1.0], (many, 1)), 0.05, prior,
            theta, covariance, value, found, 0, many,
        )  # fmt: skip
        assert found.mean() > 0.98
    truth = THETA.copy()
    truth[k.WRITE2] = write**2
    z = (theta - truth)[found] / np.sqrt(np.einsum("nii->ni", covariance))[found]
    # 400 devices: coverage of 95 % is known to 1.1 %, a mean to 5 % of a standard error
    assert np.all(np.abs((np.abs(z[:, :4]) < 1.96).mean(0) - 0.95) < 0.04)
    assert np.all(np.abs(np.median(z[:, :4], 0)) < 0.2)
    # c2c noise alone from one device: a variance of some ten degrees of freedom, whose median lies 7 % low
    assert np.median(free[found, k.C2C2]) == pytest.approx(0.93 * 0.16, rel=0.1)
    assert np.median(free[found, k.WRITE2]) == pytest.approx(write**2, rel=0.08)


def test_a_restart_forgets_what_was_before() -> None:
    y = np.array([0.0, 0.05, 5.0, 5.05])
    weight, score = np.zeros(4), np.zeros(4)
    arguments = np.array([k.UP]), np.array([1]), np.array([1.0, -1.0]), np.array([0.05, 0.0, 0.05, 0.0, 0.01, 0.0])
    k.innovations(y, np.full(4, 1e-4), np.array([0, 0, -1, 0]), *arguments, weight, score)
    assert np.abs(score).max() < 0.5
    k.innovations(y, np.full(4, 1e-4), np.array([0, 0, 0, 0]), *arguments, weight, score)
    assert np.abs(score).max() > 50
