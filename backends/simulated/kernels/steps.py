"""One pulse on one device, as scalar functions that the compiler inlines and vectorises.

There is no vector maths library, so powers and exponentials are written out. Their relative error against the exact
functions is below ``(2 + |y|) 2^-22`` for ``2^y`` (tested), 1e-6 where it matters: less than a thousandth of any
device's cycle-to-cycle noise.
"""

import math

import numpy as np

from rpudriver.keyed.intrinsics import bits_of_float, float_of_bits, fma, square_root
from rpudriver.keyed.native import inline

F, S = np.float32, np.int32

# response families, as constants of a compiled kernel
CONSTANT, SOFT_BOUNDS, LINEAR, POWER, EXPONENTIAL, MEASURED = range(6)
# noise of a pulse: none; in proportion to the step; constant; both, and the spread of a measured table besides
QUIET, MULTIPLICATIVE, ADDITIVE, GENERAL = range(4)

_SQRT_HALF_BITS = S(0x3F3504F3)
_LOG2_E = F(math.log2(math.e))
_ATANH = tuple(F(2 / math.log(2) / k) for k in (1, 3, 5, 7, 9))  # log2(m) = 2 atanh(s) / ln 2, s = (m - 1) / (m + 1)
_EXP2 = tuple(F(math.log(2) ** k / math.factorial(k)) for k in range(1, 8))  # 2^f - 1, |f| <= 1/2


@inline
def log2(x):  # type: ignore[no-untyped-def]
    """Return the base-2 logarithm of a positive, normal float32."""
    bits = bits_of_float(x)
    exponent = S(S(bits - _SQRT_HALF_BITS) >> S(23))
    m = float_of_bits(S(bits - S(exponent * S(0x800000))))  # in [sqrt(1/2), sqrt(2))
    s = F(F(m - F(1)) / F(m + F(1)))
    t = F(s * s)
    series = fma(t, _ATANH[4], _ATANH[3])
    series = fma(t, series, _ATANH[2])
    series = fma(t, series, _ATANH[1])
    series = fma(t, series, _ATANH[0])
    return F(F(exponent) + F(s * series))


@inline
def _exp2_parts(y):  # type: ignore[no-untyped-def]
    """Return ``2^n`` and ``2^f - 1``, ``y = n + f``, ``|f| <= 1/2``; y is clipped to the range of normal numbers."""
    y = min(max(y, F(-126)), F(127))
    whole = F(np.rint(y))
    f = F(y - whole)
    f2 = F(f * f)  # pairs of terms side by side (Estrin's scheme): each pulse of a device waits for the one before
    high = fma(f2, _EXP2[6], fma(f, _EXP2[5], _EXP2[4]))
    series = fma(f2, fma(f2, high, fma(f, _EXP2[3], _EXP2[2])), fma(f, _EXP2[1], _EXP2[0]))
    return float_of_bits(S(S(S(whole) + S(127)) * S(0x800000))), F(f * series)


@inline
def exp2_minus_1(y):  # type: ignore[no-untyped-def]
    """Return ``2^y - 1`` of a float32, near 0 without cancellation."""
    scale, rest = _exp2_parts(y)
    return fma(scale, rest, F(scale - F(1)))


@inline
def power(base, gamma):  # type: ignore[no-untyped-def]
    """Return ``base^gamma`` for base >= 0 and gamma > 0."""
    scale, rest = _exp2_parts(F(gamma * log2(max(base, F(1e-37)))))
    return fma(scale, rest, scale) if base > F(0) else F(0)


@inline
def exponential(base, gamma, scale):  # type: ignore[no-untyped-def]
    """Return ``(exp(gamma base) - 1) scale``; `scale` is ``1 / (exp(gamma) - 1)``."""
    return F(exp2_minus_1(F(F(gamma * _LOG2_E) * base)) * scale)


@inline
def has_slope(family):  # type: ignore[no-untyped-def]
    """Return whether steps of a family fall towards a bound."""
    return family in (SOFT_BOUNDS, LINEAR, POWER, EXPONENTIAL)


@inline
def has_gamma(family):  # type: ignore[no-untyped-def]
    """Return whether a family has an exponent."""
    return family in (POWER, EXPONENTIAL)


@inline
def relative_step(family, w, slope, gamma, scale):  # type: ignore[no-untyped-def]
    """Return ``q(w)`` of one pulse for the families with a formula.

    `slope` is what takes q from 1 at w = 0 to 0 at its bound: ``1 / bound``, with the sign of the pulse's direction.
    """
    if family == CONSTANT:
        return F(1)
    base = fma(F(-w), slope, F(1))
    if family == SOFT_BOUNDS:  # bounds and slopes are the same numbers: never below 0
        return base
    base = max(base, F(0))
    if family == POWER:
        return power(base, gamma)
    if family == EXPONENTIAL:
        return exponential(base, gamma, scale)
    return base


@inline
def moved(form, w, step, q, spread, noise, w_min, w_max, pulsed):  # type: ignore[no-untyped-def]
    """Return the weight after a pulse of nominal size `step`, if there is one, clipped to the device's own bounds.

    Parameters
    ----------
    q : relative step at w.
    spread : its noise in a measured table.
    noise : multiplicative and additive noise, and the standard normal number of the pulse.
    """
    c2c, additive, xi = noise
    start = w  # what does not wait for w is worked out beside it: waiting is what takes the time, pulse after pulse
    if form == MULTIPLICATIVE:
        step = F(step * fma(c2c, xi, F(1)))
    elif form == ADDITIVE:
        start = fma(step, F(xi * additive), w)
    elif form == GENERAL:
        scaled = F(c2c * q)
        variance = F(F(F(scaled * scaled) + F(additive * additive)) + F(spread * spread))
        q = F(q + F(xi * square_root(variance)))
    target = fma(step, q, start)
    return min(max(target if pulsed else w, w_min), w_max)
