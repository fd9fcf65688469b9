"""Maximum likelihood of a device's parameters from a sweep: a Kalman filter, compiled, one device after the other.

One pulse moves the hidden state w by ``u(w) (1 + c xi)`` up or ``d(w) (1 + c xi)`` down, ``u = a_u + b_u w``,
``d = a_d + b_d w``, xi standard normal. Mean and mean square of w after a pulse are linear in those before, so n
pulses are the n-th power of one small matrix: the moments after a stage are exact, however coarse the step is. A read
is w plus write noise and read noise. Between reads the state is predicted, at each read corrected (Kalman 1960); the
innovations give the likelihood (Schweppe 1965), its maximum is found by Fisher scoring, and the inverse of the
information matrix is the covariance of the estimates.
"""

import math

import numpy as np

from rpudriver.keyed.native import compiled

A_UP, B_UP, A_DOWN, B_DOWN, C2C2, WRITE2 = range(6)  # parameters: steps at 0, slopes, variances of c2c and write noise
COUNT, MEANS = 6, 4
VARIANTS = 1 + 2 * COUNT  # the parameters as they are, and each of them a little larger and smaller
NONE, UP, DOWN, PAIRS = range(4)  # kinds of stages
ROUNDS = 60
TOLERATED = 1e-3  # loss of likelihood in a step, far below what a standard error is
ENOUGH = 1e-4  # square of a step in standard errors that ends the search
SLOPE_LIMIT = 0.95  # of a step's change with the weight; at 1 a single pulse reaches the bound
_SMALL = 1e-12


@compiled
def _then(f, g):  # type: ignore[no-untyped-def]
    """Return the map of moments of g after f; a map is (A, B, s2, s1, s0): m' = A m + B, S' = s2 S + s1 m + s0."""
    return (
        g[0] * f[0],
        g[0] * f[1] + g[1],
        g[2] * f[2],
        g[2] * f[3] + g[3] * f[0],
        g[2] * f[4] + g[3] * f[1] + g[4],
    )


@compiled
def _pulse(a, b, c2):  # type: ignore[no-untyped-def]
    """Return the map of one pulse whose step is ``a + b w``."""
    slope = 1.0 + b
    return slope, a, slope * slope + c2 * b * b, 2.0 * a * (slope + c2 * b), a * a * (1.0 + c2)


@compiled
def _stage_map(theta, kind, count):  # type: ignore[no-untyped-def]
    result = (1.0, 0.0, 1.0, 0.0, 0.0)
    if kind == NONE:
        return result
    up, down = _pulse(theta[A_UP], theta[B_UP], theta[C2C2]), _pulse(-theta[A_DOWN], -theta[B_DOWN], theta[C2C2])
    if kind == UP:
        power = up
    elif kind == DOWN:
        power = down
    else:
        power = _then(up, down)
    while count > 0:  # binary power
        if count % 2 == 1:
            result = _then(result, power)
        power = _then(power, power)
        count //= 2
    return result


@compiled
def _below(m, p, bound):  # type: ignore[no-untyped-def]
    """Return mean and variance of a normal variable that is cut off at an upper bound."""
    s = math.sqrt(max(p, 1e-30))
    z = (bound - m) / s
    if z > 8.0:
        return m, p
    if z < -8.0:
        return bound, 0.0
    inside = 0.5 * math.erfc(-z / math.sqrt(2.0))
    density = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    mean = m * inside + bound * (1.0 - inside) - s * density
    square = (m * m + p) * inside - s * (m + bound) * density + bound * bound * (1.0 - inside)
    return mean, max(0.0, square - mean * mean)


@compiled
def _cut(m, p, low, high):  # type: ignore[no-untyped-def]
    if m > 0.5 * (low + high):
        return _below(m, p, high)
    mean, variance = _below(-m, p, -low)
    return -mean, variance


@compiled
def _vary(theta, scale, variants):  # type: ignore[no-untyped-def]
    for n in range(len(variants)):
        for j in range(COUNT):
            variants[n, j] = theta[j]
    for j in range(COUNT):
        variants[1 + 2 * j, j] += scale[j]
        variants[2 + 2 * j, j] -= scale[j]


@compiled
def _predict(maps, number, m, p, low, high):  # type: ignore[no-untyped-def]
    """Return mean and variance after a stage."""
    square = p + m * m
    mean = maps[number, 0] * m + maps[number, 1]
    variance = max(0.0, maps[number, 2] * square + maps[number, 3] * m + maps[number, 4] - mean * mean)
    if low < high:
        return _cut(mean, variance, low, high)
    return mean, variance


@compiled
def _tables(variants, kinds, counts, maps):  # type: ignore[no-untyped-def]
    for n in range(len(variants)):
        for k in range(len(kinds)):
            found = _stage_map(variants[n], kinds[k], counts[k])
            for j in range(5):
                maps[n, k, j] = found[j]


@compiled
def _likelihood(  # type: ignore[no-untyped-def]  # noqa: C901 - one pass over the reads, compiled whole
    y, noise2, stage, maps, variants, bounds, scale, gradient, fisher, bend
):
    """Return the negative logarithm of the likelihood, and fill its gradient, the Fisher information, and `bend`.

    `bend` is the derivative of the information on the four parameters of the mean by either variance.
    """
    m, p = np.full(VARIANTS, y[0]), np.full(VARIANTS, noise2[0])
    nu, s = np.empty(VARIANTS), np.empty(VARIANTS)
    d_nu, d_s = np.empty(COUNT), np.empty(COUNT)
    total = 0.0
    gradient[:], fisher[:], bend[:] = 0.0, 0.0, 0.0
    for k in range(1, len(y)):
        if stage[k] < 0:
            for n in range(VARIANTS):
                m[n], p[n] = y[k], noise2[k] + max(0.0, variants[n, WRITE2])
            continue
        for n in range(VARIANTS):
            mean, variance = _predict(maps[n], stage[k], m[n], p[n], bounds[0], bounds[1])
            s[n] = variance + noise2[k] + variants[n, WRITE2]
            nu[n] = y[k] - mean
            gain = variance / s[n]
            m[n], p[n] = mean + gain * nu[n], variance * (1.0 - gain)
        inverse = 1.0 / s[0]
        z2 = nu[0] * nu[0] * inverse
        total += 0.5 * (math.log(s[0]) + z2)
        for i in range(COUNT):
            d_nu[i] = (nu[1 + 2 * i] - nu[2 + 2 * i]) / (2.0 * scale[i])
            d_s[i] = (s[1 + 2 * i] - s[2 + 2 * i]) / (2.0 * scale[i]) * inverse
        for i in range(COUNT):
            gradient[i] += d_nu[i] * nu[0] * inverse + 0.5 * d_s[i] * (1.0 - z2)
            for j in range(i + 1):
                product = d_nu[i] * d_nu[j] * inverse
                fisher[i, j] += product + 0.5 * d_s[i] * d_s[j]
                if i < MEANS:
                    bend[0, i, j] -= product * d_s[C2C2]
                    bend[1, i, j] -= product * d_s[WRITE2]
    for i in range(COUNT):
        for j in range(i):
            fisher[j, i] = fisher[i, j]
            if i < MEANS:
                bend[0, j, i], bend[1, j, i] = bend[0, i, j], bend[1, i, j]
    return total


@compiled
def _sane(fisher):  # type: ignore[no-untyped-def]
    """Return whether an information matrix can be scaled and inverted."""
    for j in range(COUNT):
        if not 1e-200 < fisher[j, j] < 1e200:
            return False
    return bool(np.isfinite(fisher).all())


@compiled
def _restrict(fisher, bend, gradient):  # type: ignore[no-untyped-def]
    """Return half the logarithm of the determinant of the information on the means, and add to the gradient its own."""
    size = np.sqrt(np.diag(fisher)[:MEANS].copy() + 1e-300)
    block = fisher[:MEANS, :MEANS] / size.reshape(1, MEANS) / size.reshape(MEANS, 1)
    for j in range(MEANS):
        block[j, j] += 1e-12
    inverse = np.linalg.inv(block) / size.reshape(1, MEANS) / size.reshape(MEANS, 1)
    for n in range(2):
        gradient[C2C2 + n] += 0.5 * (inverse * bend[n]).sum()
    return 0.5 * math.log(max(1e-300, np.linalg.det(block))) + np.log(size).sum()


@compiled
def _evaluate(y, noise2, stage, kinds, counts, bounds, unit, prior, theta, work):  # type: ignore[no-untyped-def]
    """Return what is to be made small at `theta`; gradient and information go into `work`."""
    variants, maps, scale, gradient, fisher, bend = work
    _scales(theta, noise2, unit, scale)
    _vary(theta, scale, variants)
    _tables(variants, kinds, counts, maps)
    value = _likelihood(y, noise2, stage, maps, variants, bounds, scale, gradient, fisher, bend)
    if not (math.isfinite(value + gradient.sum() + bend.sum()) and _sane(fisher)):
        return np.inf
    value += _restrict(fisher, bend, gradient)
    for n in range(2):
        off = theta[C2C2 + n] - prior[n, 0]
        value += 0.5 * prior[n, 1] * off * off
        gradient[C2C2 + n] += prior[n, 1] * off
        fisher[C2C2 + n, C2C2 + n] += prior[n, 1]
    return value


@compiled
def _limited(theta, least):  # type: ignore[no-untyped-def]
    """Put parameters back to where they make sense."""
    for j in (B_UP, B_DOWN):
        theta[j] = min(SLOPE_LIMIT, max(-SLOPE_LIMIT, theta[j]))
    theta[C2C2] = min(100.0, max(_SMALL, theta[C2C2]))
    theta[WRITE2] = max(least, theta[WRITE2])


@compiled
def _scales(theta, noise2, unit, scale):  # type: ignore[no-untyped-def]
    """Set the sizes of the differences from which derivatives are taken."""
    for j in (A_UP, A_DOWN):
        scale[j] = 1e-4 * (abs(theta[j]) + 0.01 * unit)
    for j in (B_UP, B_DOWN):
        scale[j] = 1e-4 * (abs(theta[j]) + 0.01 * unit)
    scale[C2C2] = 1e-3 * (theta[C2C2] + 1e-4)
    scale[WRITE2] = 1e-3 * (abs(theta[WRITE2]) + noise2[0] + 1e-6 * unit * unit)


@compiled
def _solve_free(fisher, gradient, theta, least, damping):  # type: ignore[no-untyped-def]
    """Return the scoring step; a variance at its limit that would get smaller stays there."""
    f, g = fisher.copy(), -gradient
    for j in range(COUNT):
        if ((j == C2C2 and theta[j] <= _SMALL) or (j == WRITE2 and theta[j] <= least)) and g[j] < 0:
            f[j, :] = 0.0
            f[:, j] = 0.0
            f[j, j] = 1.0
            g[j] = 0.0
        f[j, j] = f[j, j] * (1.0 + damping) + 1e-300
    return np.linalg.solve(f, g)


@compiled
def fit_device(y, noise2, stage, kinds, counts, bounds, unit, prior, theta, fisher):  # type: ignore[no-untyped-def]
    """Improve `theta` until the restricted likelihood is largest; return what was made small and whether it was found.

    Parameters
    ----------
    y, noise2 : float64 ``[K]``, reads and the variances of their noise.
    stage : int64 ``[K]``, the kind of stage before each read, a number in `kinds`; -1: start anew from this read.
    kinds, counts : int64 ``[S]``, `UP`, `DOWN`, `PAIRS` or `NONE`, and how many pulses or pairs.
    bounds : float64 ``[2]``, at which a step is cut off; none where the first is not below the second.
    unit : nominal step.
    prior : float64 ``[2, 2]``, mean and inverse variance of what is known of the two variances.
    theta : float64 ``[6]``, where to start; becomes the estimate.
    fisher : float64 ``[6, 6]``, becomes the information at the estimate.
    """
    work = (
        np.empty((VARIANTS, COUNT)), np.empty((VARIANTS, len(kinds), 5)), np.empty(COUNT),
        np.empty(COUNT), np.empty((COUNT, COUNT)), np.empty((2, MEANS, MEANS)),
    )  # fmt: skip
    least = -0.5 * noise2.min()  # write noise is what is beyond read noise; less of it than none keeps it unbiased
    _limited(theta, least)
    value = _evaluate(y, noise2, stage, kinds, counts, bounds, unit, prior, theta, work)
    if not math.isfinite(value):
        return value, False
    gradient, trial, damping = work[3].copy(), theta.copy(), 1e-3
    fisher[:] = work[4]
    for _ in range(ROUNDS):
        trial[:] = theta + _solve_free(fisher, gradient, theta, least, damping)
        _limited(trial, least)
        moved = 0.0
        for j in range(COUNT):
            moved = max(moved, (trial[j] - theta[j]) ** 2 * fisher[j, j])
        new = _evaluate(y, noise2, stage, kinds, counts, bounds, unit, prior, trial, work)
        if new <= value + TOLERATED:
            theta[:], gradient[:], fisher[:] = trial, work[3], work[4]
            value, damping = new, max(1e-9, damping * 0.1)
            if moved < ENOUGH:
                return value, True
        else:
            damping *= 10.0
            if damping > 1e8:
                return value, False
    return value, False


@compiled
def fit_rows(  # type: ignore[no-untyped-def]
    y, noise2, stage, kinds, counts, bounds, unit, prior, theta, covariance, value, found, start, stop
):
    """Fit the devices ``start .. stop - 1``; arrays as in `fit_device`, with the devices first."""
    fisher = np.empty((COUNT, COUNT))
    for n in range(start, stop):
        value[n], found[n] = fit_device(
            y[n], noise2[n], stage[n], kinds, counts, bounds[n], unit, prior, theta[n], fisher
        )
        size = np.sqrt(np.diag(fisher) + 1e-300)
        scaled = fisher / size.reshape(1, COUNT) / size.reshape(COUNT, 1)
        for j in range(COUNT):
            scaled[j, j] += 1e-12
        if math.isfinite(value[n]) and np.isfinite(scaled).all():
            covariance[n] = np.linalg.inv(scaled) / size.reshape(1, COUNT) / size.reshape(COUNT, 1)
        else:
            found[n] = False


@compiled
def innovations(y, noise2, stage, kinds, counts, bounds, theta, weight, score):  # type: ignore[no-untyped-def]
    """Fill for one device the predicted weight before each stage and the standardised innovation after it, ``[K]``."""
    maps = np.empty((1, len(kinds), 5))
    _tables(theta.reshape(1, COUNT), kinds, counts, maps)
    m, p = y[0], noise2[0]
    weight[0], score[0] = m, 0.0
    for k in range(1, len(y)):
        if stage[k] < 0:
            weight[k], score[k], m, p = y[k], 0.0, y[k], noise2[k] + max(0.0, theta[WRITE2])
            continue
        mean, variance = _predict(maps[0], stage[k], m, p, bounds[0], bounds[1])
        s, nu = variance + noise2[k] + theta[WRITE2], y[k] - mean
        weight[k], score[k] = m, nu / math.sqrt(s)
        gain = variance / s
        m, p = mean + gain * nu, variance * (1.0 - gain)
