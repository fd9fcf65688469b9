"""What a pulse-response sweep says of the parameters of one device: a Kalman filter for every response family.

The hidden state moves pulse by pulse as docs/simulator.md says; between reads its mean and variance are predicted, at
each read they are corrected (extended Kalman filter: Anderson & Moore 1979, section 8.2). Its innovations have mean 0
and a known variance where parameters are right, however noisy reads are: a step that is fitted to pairs of reads is
not.
"""

import numpy as np

from rpudriver.keyed.native import compiled

FAMILIES = ("constant", "soft-bounds", "power", "exponential", "measured")
CONSTANT, SOFT, POWER, EXPONENTIAL, MEASURED = range(5)
DW, IMBALANCE, FIRST, SECOND = range(4)  # dw_min; u; then w_max and -w_min, or tau and gamma
C2C2, ADDITIVE2, WRITE2 = range(3)  # variances; the last in weight units
NONE, UP, DOWN, PAIRS = range(4)  # kinds of stages


@compiled
def _response(family, w, up, theta, table):  # type: ignore[no-untyped-def]
    """Return the relative step of a pulse and its change with the weight."""
    way = 1.0 if up else -1.0
    if family == CONSTANT:
        return 1.0, 0.0
    if family == SOFT:
        bound = theta[FIRST] if up else theta[SECOND]
        return 1.0 - way * w / bound, -way / bound
    if family == MEASURED:
        weights, steps = table[0], table[1] if up else table[2]
        n = min(max(np.searchsorted(weights, w), 1), len(weights) - 1)
        slope = (steps[n] - steps[n - 1]) / (weights[n] - weights[n - 1])
        if w < weights[0]:
            return steps[0], 0.0
        if w > weights[-1]:
            return steps[-1], 0.0
        return steps[n - 1] + slope * (w - weights[n - 1]), slope
    tau, gamma = theta[FIRST], theta[SECOND]
    left = 1.0 - way * w / tau
    if left <= 0.0:
        return 0.0, 0.0
    if family == POWER:
        q = left**gamma
        return q, -way * gamma / tau * q / left
    scale = 1.0 / np.expm1(gamma)
    return np.expm1(gamma * left) * scale, -way * gamma / tau * np.exp(gamma * left) * scale


@compiled
def _pulses(family, m, p, way, count, theta, noise, table):  # type: ignore[no-untyped-def]
    """Return mean and variance after `count` pulses in one direction, in one step.

    One pulse is exact. Several are the flow whose steps of one pulse are exact to second order (the modified equation
    ``f - f f' / 2`` of Euler's method), by the midpoint rule.
    """
    dw = theta[DW] * (1.0 + way * theta[IMBALANCE])
    q, dq = _response(family, m, way > 0, theta, table)
    step = way * dw * q
    if count > 1:
        middle = m + 0.5 * count * (step - 0.5 * dw * dw * q * dq)
        q, dq = _response(family, middle, way > 0, theta, table)
        step = way * dw * q - 0.5 * dw * dw * q * dq
    slope = (1.0 + way * dw * dq) ** count
    m += count * step
    p = slope * slope * p + count * dw * dw * (noise[C2C2] * (q * q + dq * dq * p) + noise[ADDITIVE2])
    if family in (CONSTANT, MEASURED) and (m > theta[FIRST] or m < -theta[SECOND]):
        return min(max(m, -theta[SECOND]), theta[FIRST]), 0.0
    reach = 2.0 * theta[FIRST] if family in (POWER, EXPONENTIAL) else theta[FIRST] + theta[SECOND]
    return min(max(m, -reach), reach), min(p, reach * reach)  # a bad guess of parameters does not run away


@compiled
def _pair(family, m, p, theta, noise, table):  # type: ignore[no-untyped-def]
    m, p = _pulses(family, m, p, 1.0, 1, theta, noise, table)
    return _pulses(family, m, p, -1.0, 1, theta, noise, table)


@compiled
def _stage(family, m, p, kind, count, most, theta, noise, table):  # type: ignore[no-untyped-def]
    """Return mean and variance after a stage, `most` pulses or pairs at once."""
    done = 0
    while done < count:
        h = min(most, count - done)
        done += h
        if kind != PAIRS:
            m, p = _pulses(family, m, p, 1.0 if kind == UP else -1.0, h, theta, noise, table)
        elif h == 1:
            m, p = _pair(family, m, p, theta, noise, table)
        else:
            first, _ = _pair(family, m, 0.0, theta, noise, table)
            middle = m + 0.5 * h * (first - m)
            after, added = _pair(family, middle, 0.0, theta, noise, table)
            shifted, _ = _pair(family, middle + 1e-4 * theta[FIRST], 0.0, theta, noise, table)
            slope = (shifted - after) / (1e-4 * theta[FIRST])
            m += h * (after - middle)
            p = slope ** (2 * h) * p + h * added
    return m, p


@compiled
def innovations(family, kinds, counts, most, y, read2, theta, noise, table, nu, s):  # type: ignore[no-untyped-def]
    """Fill the innovations and their variances.

    Parameters
    ----------
    kinds, counts : int64 ``[K]``, what came before read k; the first read only says where a device starts.
    most : pulses that may be taken in one step: few beside the number of states.
    y, read2 : float64 ``[D, K]``, weights as read and the variances of these reads.
    theta : float64 ``[D, 4]``; noise : float64 ``[3]``
    table : float64 ``[3, B]``, weights, relative steps up and down of the measured family.
    nu, s : float64 ``[D, K]``, to fill; at the first read 0 and 1.
    """
    for d in range(len(y)):
        m, p = y[d, 0], read2[d, 0]
        nu[d, 0], s[d, 0] = 0.0, 1.0
        for k in range(1, len(kinds)):
            m, p = _stage(family, m, p, kinds[k], counts[k], most, theta[d], noise, table)
            variance = p + read2[d, k] + noise[WRITE2]
            nu[d, k], s[d, k] = y[d, k] - m, variance
            gain = p / variance if variance > 0.0 else 0.0
            m += gain * nu[d, k]
            p *= 1.0 - gain
