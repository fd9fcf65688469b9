"""The kernel that looks only where both lines fire: for sparse updates, where most devices see nothing."""

from typing import Any

import numba as nb
import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.lookup import look_up
from rpudriver.keyed import native as keyed

F, U, S = np.float32, np.uint32, np.int32
inline = keyed.inline


@inline
def _slope(family, up, w_max, w_min, rows, cell):  # type: ignore[no-untyped-def]
    if family == steps.SOFT_BOUNDS:
        return F(F(1) / (w_max if up else w_min))
    if family == steps.LINEAR or family == steps.POWER or family == steps.EXPONENTIAL:
        slope = rows[4, cell]
        return slope if up else F(-slope)
    return F(0)


@inline
def _pulse(family, form, chip, cell, count, up, scalars):  # type: ignore[no-untyped-def]
    """Apply `count` pulses of one direction to one device, and draw what it reads as."""
    hidden, pulses, read, rows, table = chip
    k0, k1, k2, k3, strength, c2c, additive, write_noise = scalars
    w, seen, w_max, w_min = hidden[cell], pulses[cell], rows[2, cell], rows[3, cell]
    step = F(rows[0, cell] * strength) if up else F(-F(rows[1, cell] * strength))
    slope = _slope(family, up, w_max, w_min, rows, cell)
    gamma, scale = F(0), F(0)
    if family == steps.POWER or family == steps.EXPONENTIAL:
        gamma, scale = rows[5, cell], rows[6, cell]
    for _ in range(count):
        xi = F(0) if form == steps.QUIET else keyed.gaussian(k0, k1, U(cell), seen)
        q, spread = F(0), F(0)
        if family == steps.MEASURED:
            q, spread = look_up(w, up, table)
        else:
            q = steps.relative_step(family, w, slope, gamma, scale)
        w = steps.moved(w, step, steps.noisy_step(form, q, spread, c2c, additive, xi), w_min, w_max)
        seen = U(seen + U(1))
    hidden[cell], pulses[cell] = w, seen
    if write_noise > F(0):
        alive = F(0) if rows[0, cell] == F(0) and rows[1, cell] == F(0) else F(1)
        read[cell] = F(w + F(F(write_noise * alive) * keyed.gaussian(k2, k3, U(cell), seen)))


@inline
def _row(family, form, chip, n_in, columns_side, rows_side, row, repeat, snaps, scalars):  # type: ignore[no-untyped-def]
    """Apply all pieces to the devices of a row, and note columns when their turn comes."""
    x_start, x_index, x_words = columns_side
    start, index, words = rows_side
    stops, columns, out = snaps
    snap, cell = 0, np.uint64(row * n_in)
    for _ in range(repeat):
        for entry in range(start[row], start[row + 1]):
            piece, d_word = index[entry], words[entry]
            while snap < len(stops) and stops[snap] <= piece:
                out[snap, row] = chip[2][cell + np.uint64(columns[snap])]
                snap += 1
            slots = U(d_word & U(0x7FFFFFFF))
            for at in range(x_start[piece], x_start[piece + 1]):
                count = keyed.popcount(U(x_words[at] & slots))
                if count > 0:
                    up = S(U(x_words[at] ^ d_word)) >= S(0)
                    _pulse(family, form, chip, cell + np.uint64(x_index[at]), count, up, scalars)
    while snap < len(stops):
        out[snap, row] = chip[2][cell + np.uint64(columns[snap])]
        snap += 1


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    @nb.njit(cache=True, nogil=True, error_model="numpy")
    def sparse(first_row, last_row, chip, n_in, columns_side, rows_side, repeat, snaps, scalars):  # type: ignore[no-untyped-def]
        for row in range(first_row, last_row):
            _row(family, form, chip, n_in, columns_side, rows_side, row, repeat, snaps, scalars)

    return sparse
