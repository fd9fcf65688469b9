"""The passes of a read on the CPU, compiled by Numba: before the product, after it, and all in one for few vectors.

Every loop runs over neighbouring lines and must be vectorised; a test reads the assembly. Arithmetic is float32.
"""

import numba as nb
import numpy as np
from numba.np.numpy_support import carray

from rpudriver.backends.normalising import divide_vector
from rpudriver.keyed import native
from rpudriver.keyed.intrinsics import borrowed, floats_at, prefer_wide_vectors
from rpudriver.keyed.native import compiled

F, U64 = np.float32, np.uint64
INPUT, WEIGHTS, OUTPUT = range(3)  # streams
# converters, bound and noise of a chip, float32; 0 stands for none
INPUT_HALF, INPUT_BOUND, INPUT_LEVEL, INPUT_NOISE, WEIGHT_NOISE, OUTPUT_NOISE, BOUND, HALF, LEVEL = range(9)
SCALES = 9
FEW = 16  # vectors for which the product here is faster than torch's

# a sum in whatever order is fastest, products and sums rounded once, as BLAS does it; nothing else is relaxed
reordered = nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


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
    x, out = borrowed(x), borrowed(out)
    for b in range(len(x)):
        _copy(x[b], out[b])
        lengths[b] = _send(out[b], keys, scales, b)


@compiled
def _copy(x, out):  # type: ignore[no-untyped-def]
    for n in range(len(x)):
        out[n] = x[n]


@compiled
def send_normalised(x_at, stride, out, bound, divisors, lengths, keys, scales):  # type: ignore[no-untyped-def]
    """Do `send` with vectors divided by their largest size over the bound, float32 at an address, rows `stride` apart.

    Return whether all divisors are finite and none is zero; only then are the vectors converted.
    """
    out, lines, good = borrowed(out), out.shape[1], True
    for b in range(len(divisors)):
        divisors[b] = divide_vector(x_at, b * stride, lines, bound, out.ctypes.data, b * lines)
        good &= F(0) < divisors[b] < F(np.inf)
    if good:
        for b in range(len(divisors)):
            lengths[b] = _send(out[b], keys, scales, b)
    return good


@compiled
def receive_normalised(y, saturated, divisors, lengths, keys, scales, gain):  # type: ignore[no-untyped-def]
    """Do `receive`, and multiply outputs by the divisors of their inputs."""
    y, saturated, some = borrowed(y), borrowed(saturated), False
    for b in range(len(y)):
        some |= _receive(y[b], saturated[b], lengths[b], keys, scales, gain, b)
        row, by = y[b], divisors[b]
        for n in range(len(row)):
            row[n] = F(row[n] * by)
    return some


@compiled
def receive(y, saturated, lengths, keys, scales, gain):  # type: ignore[no-untyped-def]
    """Turn products ``[B, n]`` into what the output converters tell, in place; return whether any saturated."""
    y, saturated, some = borrowed(y), borrowed(saturated), False
    for b in range(len(y)):
        some |= _receive(y[b], saturated[b], lengths[b], keys, scales, gain, b)
    return some


@compiled
def receive_columns(y_at, saturated, columns, read):  # type: ignore[no-untyped-def]
    """Turn weights of single columns into what reads of them bring up, in place; return whether any saturated.

    Parameters
    ----------
    y_at : address of float32 ``[R, n]``.
    saturated : bool ``[R, n]``, filled.
    read : the address of float32 ``[columns of the array, n]``, what is subtracted from column ``columns[r]``, or 0;
        input of a column after its converter, and its size; seed and streams, number of the first read; scales.
    """
    held_at, sent, length, seed, streams, first, scales = read
    y, keys = carray(floats_at(y_at), saturated.shape), (seed, streams, U64(first))
    saturated, lines, some = borrowed(saturated), saturated.shape[1], False
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


@reordered
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


@reordered
def _forward_few(weights, x, y):  # type: ignore[no-untyped-def]
    """Set ``y = x W^T``, four rows and two vectors at a time: what is loaded serves two products or four."""
    prefer_wide_vectors()
    rows, lines = weights.shape
    whole = rows - rows % 4
    for i in range(0, whole, 4):
        for b in range(0, len(x), 2):
            p0, p1, p2, p3, q0, q1, q2, q3 = F(0), F(0), F(0), F(0), F(0), F(0), F(0), F(0)
            for n in range(lines):
                p, q = x[b, n], x[b + 1, n]
                w0, w1, w2, w3 = weights[i, n], weights[i + 1, n], weights[i + 2, n], weights[i + 3, n]
                p0, p1, p2, p3 = F(p0 + w0 * p), F(p1 + w1 * p), F(p2 + w2 * p), F(p3 + w3 * p)
                q0, q1, q2, q3 = F(q0 + w0 * q), F(q1 + w1 * q), F(q2 + w2 * q), F(q3 + w3 * q)
            y[b, i], y[b, i + 1], y[b, i + 2], y[b, i + 3] = p0, p1, p2, p3
            y[b + 1, i], y[b + 1, i + 1], y[b + 1, i + 2], y[b + 1, i + 3] = q0, q1, q2, q3
    for i in range(whole, rows):
        for b in range(len(x)):
            total = F(0)
            for n in range(lines):
                total += F(weights[i, n] * x[b, n])
            y[b, i] = total


@reordered
def _transposed_few(weights, x, y):  # type: ignore[no-untyped-def]
    """Set ``y = x W``, four rows and two vectors at a time."""
    prefer_wide_vectors()
    rows, lines = weights.shape
    whole = rows - rows % 4
    y[:] = F(0)
    for i in range(0, whole, 4):
        for b in range(0, len(x), 2):
            p0, p1, p2, p3 = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3]
            q0, q1, q2, q3 = x[b + 1, i], x[b + 1, i + 1], x[b + 1, i + 2], x[b + 1, i + 3]
            for n in range(lines):
                w0, w1, w2, w3 = weights[i, n], weights[i + 1, n], weights[i + 2, n], weights[i + 3, n]
                y[b, n] = F(y[b, n] + F(F(w0 * p0 + w1 * p1) + F(w2 * p2 + w3 * p3)))
                y[b + 1, n] = F(y[b + 1, n] + F(F(w0 * q0 + w1 * q1) + F(w2 * q2 + w3 * q3)))
    for i in range(whole, rows):
        for b in range(len(x)):
            for n in range(lines):
                y[b, n] = F(y[b, n] + F(weights[i, n] * x[b, i]))


@compiled
def _multiply(weights, sent, transposed):  # type: ignore[no-untyped-def]
    """Return the products of a matrix ``[rows, columns]`` or its transpose with one vector, or with an even number."""
    y = np.empty((len(sent), weights.shape[1 if transposed else 0]), np.float32)
    if len(sent) == 1:
        if transposed:
            _transposed(weights, sent[0], y[0])
        else:
            _forward(weights, sent[0], y[0])
    elif transposed:
        _transposed_few(weights, sent, y)
    else:
        _forward_few(weights, sent, y)
    return y


@compiled
def _room(vectors, lines):  # type: ignore[no-untyped-def]
    """Return memory for vectors that are sent: one, or an even number, the last of them zero where it is one more."""
    count = vectors if vectors == 1 else vectors + vectors % 2
    sent = np.empty((count, lines), np.float32)
    sent[count - 1] = F(0)
    return sent


@compiled
def read_few(weights_at, rows, columns, transposed, x, y_at, saturated, seed, streams, first, scales, gain):  # type: ignore[no-untyped-def]
    """Read vectors, `FEW` at most, into ``saturated [B, m]`` and the memory at `y_at`; return whether any saturated.

    Weights ``[rows, columns]`` and outputs are float32, contiguous and named by their addresses: a tensor tells its
    address ten times faster than it makes an array. How many vectors there are may show in the last bits.
    """
    keys, sent = (seed, streams, U64(first)), _room(len(x), x.shape[1])
    lengths = np.empty(len(x), np.float32)
    send(x, sent, lengths, keys, scales)
    y = _multiply(carray(floats_at(weights_at), (rows, columns)), sent, transposed)[: len(x)]
    some = receive(y, saturated, lengths, keys, scales, gain)
    carray(floats_at(y_at), saturated.shape)[:] = y
    return some


@compiled
def read_few_normalised(  # type: ignore[no-untyped-def]
    weights_at, rows, columns, transposed, x_at, stride, y_at, saturated, seed, streams, first, scales, gain, bound
):
    """Do `read_few` with vectors divided by their largest size over the bound; multiply the results back.

    Return whether all divisors are finite and none is zero, without which nothing is read, and whether any saturated.
    """
    vectors, keys = len(saturated), (seed, streams, U64(first))
    sent = _room(vectors, rows if transposed else columns)
    divisors, lengths = np.empty(vectors, np.float32), np.empty(vectors, np.float32)
    if not send_normalised(x_at, stride, sent, bound, divisors, lengths, keys, scales):
        return False, False
    y = _multiply(carray(floats_at(weights_at), (rows, columns)), sent, transposed)[:vectors]
    some = receive_normalised(y, saturated, divisors, lengths, keys, scales, F(gain))
    carray(floats_at(y_at), saturated.shape)[:] = y
    return True, some
