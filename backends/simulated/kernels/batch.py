"""A batch in one compiled call: trains are drawn and looked through, or given; cut and applied, and columns read.

It calls what does each of these elsewhere, so its results are theirs bit for bit.
"""

import numba as nb
import numpy as np
from numba.np.numpy_support import carray

from rpudriver import trains
from rpudriver.backends import counting
from rpudriver.backends.simulated import products
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.calls import call_dense, call_sparse
from rpudriver.backends.simulated.kernels.pieces import SLOTS, TILE, Rows, cut_into, fill_slots, fill_tiles
from rpudriver.backends.simulated.kernels.plan import plan
from rpudriver.keyed.compilation import announced
from rpudriver.keyed.intrinsics import floats_at
from rpudriver.keyed.native import compiled

U, U64 = np.uint32, np.uint64


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


def _run(x, d, shape, key, options, bounds, places, memory, noted, bank, scalars, kernels, most, read):  # type: ignore[no-untyped-def]
    """Draw trains for ``lr * d x^T``; apply them and read columns, if the kernel is there and not worth more threads.

    Parameters
    ----------
    x, d : address and row stride of float32 ``[B, n_in]`` and ``[B, n_out]``.
    shape : (B, n_in, n_out).
    key : seed, as a signed number; numbers of both streams; number of the first sample.
    options : as `draw_trains` takes them.
    bounds : fields of `Bounds`.
    places : columns that are read, and after how many samples.
    memory : what `pieces.room` returns, and stops of `Rows`; filled.
    noted : float32 ``[R, n_out]``, filled with what was read if all is done.
    bank, scalars : as kernels take them, see `as_words`.
    kernels : addresses of the dense and the sparse one, 0 where it is not there.
    most : cost up to which a batch is applied here, see `plan`.
    read : as `products.receive_columns` takes it.

    Returns
    -------
    Whether the trains may be sent; whether all is done; the tally of the trains, and what `cut_into` returns.
    """
    samples, n_in, n_out = shape
    x_rows, d_rows = _rows(x[0], x[1], samples, n_in), _rows(d[0], d[1], samples, n_out)
    seed, streams, number = key
    finite, x_words, d_words, x_negative, d_negative, bl = trains.draw_words(
        U64(seed), (U(streams[0]), U(streams[1])), U64(number), x_rows, d_rows, options
    )
    if not finite:
        return False, False, (0, 0, 0, 0, 0, 0, False, False), (0, 0, 0, 0.0)
    tally = counting.tally_of_arrays(x_words, d_words, x_negative, d_negative, bl)
    late, longest, total, _, _, _, up, down = tally
    longest_allowed, budget, up_allowed, down_allowed = bounds
    if late >= 0 or longest > longest_allowed or total > budget or up > up_allowed or down > down_allowed:
        return False, False, tally, (0, 0, 0, 0.0)
    found = cut_into(x_words, d_words, x_negative, d_negative, bl, U(0), places[1], *memory)
    done = _apply(found, shape, places[0], memory, noted, bank, scalars, kernels, most, 1)
    if done and len(noted) > 0:
        saturated = np.empty(noted.shape, np.bool_)
        products.receive_columns(noted.ctypes.data, saturated, places[0], read)
    return True, done, tally, found


def _run_given(given, flip, shape, places, memory, noted, bank, scalars, kernels, most, repeat):  # type: ignore[no-untyped-def]
    """Apply given trains, the arrays of `PulseTrains`, as `_run` does those that it draws; columns are only noted.

    Return whether that was done, and what `cut_into` returns. `flip` is the bit that reverses signs, 0 for none.
    """
    x_words, d_words, x_negative, d_negative, bl = given
    found = cut_into(x_words, d_words, x_negative, d_negative, bl, U(flip), places[1], *memory)
    return _apply(found, shape, places[0], memory, noted, bank, scalars, kernels, most, repeat), found


# kept on disk within its callers, whose names tell the sources: it must never call a kernel of other arguments
@nb.njit(nogil=True, error_model="numpy")
def _apply(found, shape, columns, memory, noted, bank, scalars, kernels, most, repeat):  # type: ignore[no-untyped-def]
    """Apply trains that are cut; return whether that was done."""
    (_, n_in, n_out), (pieces, entries, pulses, coincidences) = shape, found
    dense, cost = plan(n_out, n_in, entries, coincidences, repeat)
    at = U64(kernels[0] if dense else kernels[1])
    if at == U64(0) or cost > most:
        return False
    start, index, words, by_column, stops = memory
    rows, by_column = Rows(start, index, words, stops), by_column[:pieces]
    if dense:
        tiles = (n_in + TILE - 1) // TILE
        x_words, fires = np.empty(tiles * pieces * TILE, np.uint32), np.empty((tiles, pieces), np.bool_)
        order, first = np.empty(len(columns), np.int64), np.empty(tiles + 1, np.int64)
        fill_tiles(by_column, columns, x_words, fires, order, first)
        call_dense(at, (0, n_out, *bank, rows, x_words, fires, repeat, columns, order, first, noted, scalars))
    else:
        slot_start, fired = np.empty(SLOTS * pieces + 1, np.int32), np.empty(pulses, np.uint32)
        fill_slots(by_column, slot_start, fired)
        call_sparse(at, (0, n_out, *bank, rows, slot_start, fired, repeat, columns, noted, scalars))
    return True


run = announced(compiled_as("batch", _run, trains, counting, products), "what draws and applies pulse trains")
run_given = announced(compiled_as("given_batch", _run_given), "what applies pulse trains")
