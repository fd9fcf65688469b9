"""The passes of a read on the CPU, compiled by Numba: before the product, after it, and all in one for a single vector.

Every loop runs over neighbouring lines and must be vectorised; a test reads the assembly. Arithmetic is float32.
"""

from typing import Any

import numba as nb
import numpy as np
from numba.core import types as untyped_types
from numba.np.numpy_support import carray

from rpudriver.backends.normalising import divide_vector
from rpudriver.keyed import native
from rpudriver.keyed.intrinsics import floats_at, prefer_wide_vectors
from rpudriver.keyed.native import compiled

types: Any = untyped_types
F, U64 = np.float32, np.uint64
INPUT, WEIGHTS, OUTPUT = range(3)  # streams
# converters, bound and noise of a chip, float32; 0 stands for none
INPUT_HALF, INPUT_BOUND, INPUT_LEVEL, INPUT_NOISE, WEIGHT_NOISE, OUTPUT_NOISE, BOUND, HALF, LEVEL = range(9)
SCALES = 9

# a sum in whatever order is fastest, as BLAS does it; nothing else is relaxed
reordered = nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc"})


@compiled
def _add_noise(row, sigma, keys, purpose, vector):  # type: ignore[no-untyped-def]
    """Add ``sigma * gaussian(seed, stream, first + vector, line, 0)`` to each line."""
    prefer_wide_vectors()
    seed, streams, first = keys
    step = U64(first + U64(vector))
    line, tick = native.key_0(seed, streams[purpose], step), native.key_1(seed, streams[purpose], step)
    for n in range(len(row)):
        xi = native.gaussian_from_word(native.mix(np.uint32(line ^ tick)))
        row[n] = F(row[n] + F(sigma * xi))
        line = native.next_cell(line)


@compiled
def _convert(row, half, bound, level):  # type: ignore[no-untyped-def]
    """Take the nearest level, ties to even as torch does; ties such as 0.5 of 1 stay exact in the product."""
    for n in range(len(row)):
        row[n] = F(np.rint(F(F(row[n] * half) / bound)) * level)


@compiled
def _clip(row, bound, saturated):  # type: ignore[no-untyped-def]
    """Hold outputs within the bound; note which reach it, and return whether any does."""
    some = np.uint8(0)
    for n in range(len(row)):
        value = row[n]
        beyond = abs(value) >= bound
        saturated[n] = beyond
        some = np.uint8(some | beyond)  # narrow again: an integer of 64 bits would make vectors of four
        row[n] = min(max(value, -bound), bound)
    return some != 0


@reordered
def _length(row):  # type: ignore[no-untyped-def]
    total = F(0)
    for n in range(len(row)):
        total += F(row[n] * row[n])
    return F(np.sqrt(total))


@compiled
def _send(out, keys, scales, vector):  # type: ignore[no-untyped-def]
    """Convert a vector and add its input noise, in place; return its length where weight noise needs it."""
    if scales[INPUT_HALF] > F(0):
        _convert(out, scales[INPUT_HALF], scales[INPUT_BOUND], scales[INPUT_LEVEL])
    if scales[INPUT_NOISE] > F(0):
        _add_noise(out, scales[INPUT_NOISE], keys, INPUT, vector)
    return _length(out) if scales[WEIGHT_NOISE] > F(0) else F(0)


@compiled
def _receive(y, saturated, length, keys, scales, gain, vector):  # type: ignore[no-untyped-def]
    """Add weight and output noise to a vector of outputs, clip and convert it; return whether any of it saturated."""
    some = False
    if scales[WEIGHT_NOISE] > F(0):
        _add_noise(y, F(F(gain * scales[WEIGHT_NOISE]) * length), keys, WEIGHTS, vector)
    if scales[OUTPUT_NOISE] > F(0):
        _add_noise(y, scales[OUTPUT_NOISE], keys, OUTPUT, vector)
    if scales[BOUND] > F(0):
        some = _clip(y, scales[BOUND], saturated)
    else:
        saturated[:] = False
    if scales[HALF] > F(0):
        _convert(y, scales[HALF], scales[BOUND], scales[LEVEL])
    return some


@compiled
def send(x, out, lengths, keys, scales):  # type: ignore[no-untyped-def]
    """Fill ``out [B, n]`` with what reaches the array, and its lengths ``[B]``.

    Parameters
    ----------
    keys : (seed, numbers of the three streams, number of the first vector).
    """
    for b in range(len(x)):
        _copy(x[b], out[b])
        lengths[b] = _send(out[b], keys, scales, b)


@compiled
def _copy(x, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = x[n]


@compiled
def send_normalised(x_at, stride, out_at, vectors, lines, bound, divisors, lengths, seed, streams, first, scales):  # type: ignore[no-untyped-def]
    """Do `send` with vectors divided by their largest size over the bound, float32 at an address, rows `stride` apart.

    Return whether all divisors are finite and none is zero; only then are the vectors converted.
    """
    out, good = carray(floats_at(out_at), (vectors, lines)), True
    for b in range(vectors):
        divisors[b] = divide_vector(x_at, b * stride, lines, bound, out_at, b * lines)
        good &= F(0) < divisors[b] < F(np.inf)
    if good:
        keys = (seed, streams, U64(first))
        for b in range(vectors):
            lengths[b] = _send(out[b], keys, scales, b)
    return good


@compiled
def receive_normalised(y_at, saturated, divisors, lengths, seed, streams, first, scales, gain):  # type: ignore[no-untyped-def]
    """Do `receive` with outputs ``[B, n]`` at an address, and multiply them by the divisors of their inputs."""
    y, keys, some = carray(floats_at(y_at), saturated.shape), (seed, streams, U64(first)), False
    for b in range(len(y)):
        some |= _receive(y[b], saturated[b], lengths[b], keys, scales, F(gain), b)
        row, by = y[b], divisors[b]
        for n in range(len(row)):
            row[n] = F(row[n] * by)
    return some


@compiled
def receive(y, saturated, lengths, keys, scales, gain):  # type: ignore[no-untyped-def]
    """Turn products ``[B, n]`` into what the output converters tell, in place; return whether any saturated."""
    some = False
    for b in range(len(y)):
        some |= _receive(y[b], saturated[b], lengths[b], keys, scales, gain, b)
    return some


@compiled
def receive_columns(y_at, saturated, held_at, columns, sent, length, seed, streams, first, scales):  # type: ignore[no-untyped-def]
    """Turn weights of single columns into what reads of them bring up, in place; return whether any saturated.

    Parameters
    ----------
    y_at : address of float32 ``[R, n]``.
    saturated : bool ``[R, n]``.
    held_at : address of float32 ``[columns of the array, n]``, what is subtracted from column ``columns[r]``, or 0.
    sent, length : input of the column after its converter, and its size.
    """
    y, keys = carray(floats_at(y_at), saturated.shape), (seed, streams, U64(first))
    lines, some = saturated.shape[1], False
    for r in range(len(saturated)):
        row = y[r]
        if held_at:
            held = carray(floats_at(held_at + 4 * lines * columns[r]), lines)
            for n in range(lines):
                row[n] = F(row[n] - held[n])
        for n in range(lines):
            row[n] = F(row[n] * sent)
        some |= _receive(row, saturated[r], length, keys, scales, F(1), r)
    return some


@reordered
def _forward(weights, x, y):  # type: ignore[no-untyped-def]
    """Set ``y = W x``, two rows at a time: x is loaded half as often."""
    prefer_wide_vectors()
    whole = len(y) - len(y) % 2
    for i in range(0, whole, 2):
        first, second = F(0), F(0)
        for n in range(len(x)):
            first += F(weights[i, n] * x[n])
            second += F(weights[i + 1, n] * x[n])
        y[i], y[i + 1] = first, second
    for i in range(whole, len(y)):
        total = F(0)
        for n in range(len(x)):
            total += F(weights[i, n] * x[n])
        y[i] = total


@compiled
def _transposed(weights, x, y):  # type: ignore[no-untyped-def]
    """Set ``y = W^T x``: the rows of inputs that are not 0, four at a time, so that y is loaded a quarter as often."""
    prefer_wide_vectors()
    rows, count = np.empty(len(x), np.int64), 0
    for n in range(len(x)):
        rows[count] = n
        count += x[n] != 0
    for n in range(len(y)):
        y[n] = F(0)
    whole = count - count % 4
    for r in range(0, whole, 4):
        i, j, k, m = U64(rows[r]), U64(rows[r + 1]), U64(rows[r + 2]), U64(rows[r + 3])
        a, b, c, d = x[i], x[j], x[k], x[m]
        for n in range(len(y)):
            low, high = F(F(weights[i, n] * a) + F(weights[j, n] * b)), F(F(weights[k, n] * c) + F(weights[m, n] * d))
            y[n] = F(F(y[n] + low) + high)
    for r in range(whole, count):
        last = U64(rows[r])
        factor = x[last]
        for n in range(len(y)):
            y[n] = F(y[n] + F(weights[last, n] * factor))


@compiled
def _one(weights, x, transposed, y):  # type: ignore[no-untyped-def]
    if transposed:
        _transposed(weights, x, y)
    else:
        _forward(weights, x, y)


@compiled
def multiply_one(weights_at, rows, columns, transposed, x_at, y_at):  # type: ignore[no-untyped-def]
    """Set y to the product of a matrix ``[rows, columns]`` or its transpose with one vector, as `read_one` does."""
    x = carray(floats_at(x_at), rows if transposed else columns)
    y = carray(floats_at(y_at), columns if transposed else rows)
    _one(carray(floats_at(weights_at), (rows, columns)), x, transposed, y)


@compiled
def read_one(weights_at, rows, columns, transposed, x_at, y_at, saturated, seed, streams, first, scales, gain):  # type: ignore[no-untyped-def]
    """Read a single vector into ``saturated [1, m]`` and the memory at `y_at`; return whether any of it saturated.

    Weights ``[rows, columns]``, inputs and outputs are float32, contiguous and named by their addresses: a tensor tells
    its address ten times faster than it makes an array.
    """
    weights = carray(floats_at(weights_at), (rows, columns))
    x = carray(floats_at(x_at), rows if transposed else columns)
    y = carray(floats_at(y_at), columns if transposed else rows)
    keys = (seed, streams, U64(first))
    sent = np.empty(len(x), np.float32)
    _copy(x, sent)
    length = _send(sent, keys, scales, 0)
    _one(weights, sent, transposed, y)
    return _receive(y, saturated[0], length, keys, scales, F(gain), 0)


@compiled
def read_one_normalised(  # type: ignore[no-untyped-def]
    weights_at, rows, columns, transposed, x_at, y_at, saturated, seed, streams, first, scales, gain, bound
):
    """Do `read_one` with a vector divided by its largest size over the bound; multiply the result back.

    Return whether the divisor is finite and not zero, without which nothing is read, and whether any output saturated.
    """
    weights = carray(floats_at(weights_at), (rows, columns))
    lines = rows if transposed else columns
    y = carray(floats_at(y_at), columns if transposed else rows)
    keys = (seed, streams, U64(first))
    sent = np.empty(lines, np.float32)
    by = divide_vector(x_at, 0, lines, bound, sent.ctypes.data, 0)
    if not F(0) < by < F(np.inf):
        return False, False
    length = _send(sent, keys, scales, 0)
    _one(weights, sent, transposed, y)
    some = _receive(y, saturated[0], length, keys, scales, F(gain), 0)
    for n in range(len(y)):
        y[n] = F(y[n] * by)
    return True, some
