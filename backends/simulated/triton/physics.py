"""What one pulse does to a device, as Triton functions: one mechanism, in which the family is a compile-time switch.

Devices come as a tuple of float32 blocks, see `load_device`, and families under the names of their responses. With
``line = 1 - slope w``, soft bounds, power and exponential differ only in what they make of it.
"""

import triton
import triton.language as tl

_TERMS = tl.constexpr(8)  # of the series of expm1 below 1/2: the first that is left out is 2^-8 / 9! = 1e-8 of the sum
_FULL_STEP = tl.constexpr(1.0)


@triton.jit
def _expm1(x):  # type: ignore[no-untyped-def]
    """Return exp(x) - 1, for |x| below 5 to about 1e-6 of its value; Triton's own language has no expm1."""
    series = tl.zeros_like(x) + 1.0
    for k in tl.static_range(_TERMS, 1, -1):
        series = 1.0 + series * x * (1.0 / k)
    return tl.where(tl.abs(x) < 0.5, x * series, tl.exp(x) - 1.0)


@triton.jit
def _power(base, exponent):  # type: ignore[no-untyped-def]
    """Return ``base ** exponent`` of a base that is not negative, to about 3e-7 where it is at most 1."""
    positive = base > 0.0
    at_zero = tl.where(exponent == 0.0, 1.0, 0.0)
    return tl.where(positive, tl.exp2(exponent * tl.log2(tl.where(positive, base, 1.0))), at_zero)


@triton.jit
def _interval(table, rows, w, search: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the row of a table's grid left of w, by bisection, and how far w lies into the interval, 0 to 1."""
    left = tl.zeros_like(w).to(tl.int32)
    for k in tl.static_range(search):
        right = left + (1 << (search - 1 - k))
        inside = right < rows - 1
        left = tl.where(inside & (tl.load(table + right, mask=inside, other=0.0) < w), right, left)
    low = tl.load(table + left)
    share = (w - low) / (tl.load(table + left + 1) - low)
    return left, tl.minimum(tl.maximum(share, 0.0), 1.0)


@triton.jit
def _interpolated(column, left, share):  # type: ignore[no-untyped-def]
    low = tl.load(column + left)
    return low + share * (tl.load(column + left + 1) - low)


@triton.jit
def load_device(parameters, cell, inside, reach, family: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return what moves the devices `cell`.

    Parameters
    ----------
    parameters : pointers to dw_up, dw_down, w_max, w_min, alive and the response's two (see `update.SHAPES`).
    reach : strength of the pulse.

    Returns
    -------
    tuple : steps up and down (0 where dead), bounds w_max and w_min, slopes up and down, exponent, scale, alive.
    """
    alive = tl.load(parameters[4] + cell, mask=inside, other=0.0)
    up = tl.load(parameters[0] + cell, mask=inside, other=0.0) * (alive * reach)
    down = -(tl.load(parameters[1] + cell, mask=inside, other=0.0) * (alive * reach))
    w_max = tl.load(parameters[2] + cell, mask=inside, other=1.0)
    w_min = tl.load(parameters[3] + cell, mask=inside, other=-1.0)
    first = tl.load(parameters[5] + cell, mask=inside, other=1.0)
    exponent = tl.load(parameters[6] + cell, mask=inside, other=1.0)
    up_slope, down_slope, scale = tl.div_rn(1.0, w_max), tl.div_rn(1.0, w_min), exponent
    if family == "power" or family == "exponential":  # Triton compiles no membership
        up_slope = tl.div_rn(1.0, first)
        down_slope = -up_slope
    if family == "exponential":
        scale = tl.div_rn(1.0, _expm1(exponent))
    if family == "measured":
        scale = tl.div_rn(1.0, first)
    return up, down, w_max, w_min, up_slope, down_slope, exponent, scale, alive


@triton.jit
def _relative_step(w, up, device, table, rows, family: tl.constexpr, search: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return ``q(w)`` of one pulse, and the spread that belongs to the response itself."""
    spread = tl.zeros_like(w)
    if family == "constant":
        q = spread + _FULL_STEP
    elif family == "measured":
        left, share = _interval(table, rows, w, search)
        rising = _interpolated(table + rows, left, share)
        falling = _interpolated(table + 2 * rows, left, share)
        q = tl.where(up, rising, falling) * device[7]
        spread = _interpolated(table + 3 * rows, left, share) * device[7]
    else:
        line = 1.0 - w * tl.where(up, device[4], device[5])
        if family == "soft-bounds":
            q = line
        elif family == "power":
            q = _power(tl.maximum(line, 0.0), device[6])
        else:
            q = _expm1(device[6] * tl.maximum(line, 0.0)) * device[7]
    return q, spread


@triton.jit
def moved(w, up, xi, device, physics, family: tl.constexpr, mixed: tl.constexpr, search: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the hidden state after one pulse.

    Parameters
    ----------
    xi : standard normal numbers.
    physics : (table ``[4, rows]``, rows, c2c, c2c_additive).
    mixed : whether there is any spread besides the multiplicative one.
    search : steps of the bisection of the table.
    """
    table, rows, c2c, additive = physics
    q, spread = _relative_step(w, up, device, table, rows, family, search)
    if mixed:
        scaled = c2c * q
        q = q + xi * tl.sqrt_rn(scaled * scaled + additive * additive + spread * spread)
    else:
        q = q + xi * tl.abs(c2c * q)
    return tl.minimum(tl.maximum(w + tl.where(up, device[0], device[1]) * q, device[3]), device[2])
