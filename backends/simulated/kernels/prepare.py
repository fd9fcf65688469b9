"""All that goes before the pulses of a mini-batch, in one compiled call: trains are drawn, looked through, and cut.

It calls what draws, tallies and cuts trains elsewhere, so its results are theirs bit for bit.
"""

from typing import Any

import numpy as np
from numba.core import types as untyped_types
from numba.np.numpy_support import carray

from rpudriver import trains
from rpudriver.backends import counting
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.pieces import cut_into
from rpudriver.keyed.intrinsics import floats_at
from rpudriver.keyed.native import compiled

types: Any = untyped_types
U = np.uint32


@compiled
def _rows(address, stride, samples, lines):  # type: ignore[no-untyped-def]
    """Return float32 ``[samples, lines]`` at an address, rows `stride` numbers apart, contiguous."""
    memory = carray(floats_at(address), samples * stride)
    if stride == lines:
        return memory.reshape(samples, lines)
    rows = np.empty((samples, lines), np.float32)
    for b in range(samples):
        rows[b] = memory[b * stride : b * stride + lines]
    return rows


def _prepare(x, d, shape, key, options, bounds, after, start, index, words, columns, stops):  # type: ignore[no-untyped-def]
    """Fill the memory of `pieces.room` with trains for ``lr * d x^T``.

    Parameters
    ----------
    x, d : address and row stride of float32 ``[B, n_in]`` and ``[B, n_out]``.
    shape : (B, n_in, n_out).
    key : seed, numbers of both streams, number of the first sample.
    options : as `draw_trains` takes them.
    bounds : fields of `Bounds`.

    Returns
    -------
    Whether the trains may be sent, the tally of them, and what `cut_into` returns.
    """
    samples, n_in, n_out = shape
    x_rows, d_rows = _rows(x[0], x[1], samples, n_in), _rows(d[0], d[1], samples, n_out)
    seed, streams, number = key
    finite, x_words, d_words, x_negative, d_negative, bl = trains.draw_words(
        seed, streams, number, x_rows, d_rows, options
    )
    if not finite:
        return False, (0, 0, 0, 0, 0, 0, False, False), (0, 0, 0, 0.0)
    tally = counting.tally_of_arrays(x_words, d_words, x_negative, d_negative, bl)
    late, longest, total, _, _, _, up, down = tally
    longest_allowed, budget, up_allowed, down_allowed = bounds
    if late >= 0 or longest > longest_allowed or total > budget or up > up_allowed or down > down_allowed:
        return False, tally, (0, 0, 0, 0.0)
    found = cut_into(x_words, d_words, x_negative, d_negative, bl, U(0), after, start, index, words, columns, stops)
    return True, tally, found


prepare = compiled_as("prepare", _prepare, trains, counting)
