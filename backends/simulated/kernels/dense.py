"""The kernel that looks at every device: for dense updates, where most devices of a batch see pulses.

Row by row and tile by tile: each device collects the signs of its coincidences in a queue of one word (the highest set
bit marks its end), piece after piece; then the queues of `LANES` neighbours are drained in lock step, their weights in
vector registers or the nearest cache. Everything in the loops over lanes must vectorise, a test reads the assembly.
"""

from typing import Any

import numba as nb
import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.lookup import look_up_lanes
from rpudriver.backends.simulated.kernels.pieces import SLOTS, TILE
from rpudriver.backends.simulated.kernels.scratch import (
    GAMMA,
    LANES,
    LENGTH,
    LINE,
    PHASE,
    SCALE,
    SIGNS,
    SLOPE_DOWN,
    SLOPE_UP,
    SPREAD,
    STEP_DOWN,
    STEP_UP,
    W_MAX,
    W_MIN,
    Q,
    W,
)
from rpudriver.keyed import arrays
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import leading_zeros, prefer_wide_vectors, push, shift_left

F, U, S = np.float32, np.uint32, np.int32
EMPTY = U(1)  # a queue that holds nothing but its end mark
WEYL_CELL, WEYL_PULSE = U(arrays.WEYL_CELL), U(arrays.WEYL_PULSE)
inline = keyed.inline


@inline
def _collect(queue, x_tile, first, d_word):  # type: ignore[no-untyped-def]
    """Add the coincidences of one piece of a row to the queues of a tile."""
    slots = U(d_word & U(0x7FFFFFFF))
    for lane in range(TILE):
        x_word = x_tile[first + lane]
        count = keyed.popcount(U(x_word & slots))
        sign = U(S(U(x_word ^ d_word)) >> S(31))  # all ones where the pulse goes down
        queue[lane] = push(queue[lane], sign, count)


@inline
def _longest(queue, first):  # type: ignore[no-untyped-def]
    """Return the largest number of pulses in the queues of a group of lanes."""
    longest = U(0)
    for lane in range(LANES):
        longest = max(longest, queue[first + lane])
    return S(31) - S(leading_zeros(longest))


@inline
def _load(family, f, u, queue, first, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Bring the devices of a group of lanes into the scratch."""
    hidden, pulses, _, rows, _ = chip
    k0, k1, strength = scalars[0], scalars[1], scalars[4]
    for lane in range(lanes):
        at = np.uint64(cell + lane)
        f[W + lane] = hidden[at]
        u[PHASE + lane] = U(k1 + U(pulses[at] * WEYL_PULSE))
        u[LINE + lane] = U(k0 + U(U(at) * WEYL_CELL))
    for lane in range(lanes):
        at = np.uint64(cell + lane)
        f[STEP_UP + lane] = F(rows[0, at] * strength)
        f[STEP_DOWN + lane] = F(-F(rows[1, at] * strength))
        f[W_MAX + lane] = rows[2, at]
        f[W_MIN + lane] = rows[3, at]
    if family == steps.SOFT_BOUNDS:
        for lane in range(lanes):
            f[SLOPE_UP + lane] = F(F(1) / f[W_MAX + lane])
            f[SLOPE_DOWN + lane] = F(F(1) / f[W_MIN + lane])
    elif family == steps.LINEAR or family == steps.POWER or family == steps.EXPONENTIAL:
        for lane in range(lanes):
            slope = rows[4, np.uint64(cell + lane)]
            f[SLOPE_UP + lane] = slope
            f[SLOPE_DOWN + lane] = F(-slope)
    if family == steps.POWER or family == steps.EXPONENTIAL:
        for lane in range(lanes):
            f[GAMMA + lane] = rows[5, np.uint64(cell + lane)]
            f[SCALE + lane] = rows[6, np.uint64(cell + lane)]
    for lane in range(LANES):
        above = leading_zeros(queue[first + lane])
        u[LENGTH + lane] = U(U(31) - above)
        u[SIGNS + lane] = shift_left(shift_left(queue[first + lane], above), U(1))  # the oldest pulse in the top bit
        queue[first + lane] = EMPTY


@inline
def _round(family, form, f, u, table, r, scalars):  # type: ignore[no-untyped-def]
    """Apply the r-th pulse of every lane that has one."""
    c2c, additive = scalars[5], scalars[6]
    phase, taken = U(U(r) * WEYL_PULSE), U(r)
    if family == steps.MEASURED:
        look_up_lanes(f, u, table)
    for lane in range(LANES):
        xi = F(0)
        if form != steps.QUIET:
            word = keyed.mix(U(u[LINE + lane] ^ U(u[PHASE + lane] + phase)))
            xi = keyed.gaussian_from_word(word)
        signs = u[SIGNS + lane]
        u[SIGNS + lane] = U(signs + signs)
        up = S(signs) >= S(0)
        step_up, step_down = f[STEP_UP + lane], f[STEP_DOWN + lane]
        slope_up, slope_down = f[SLOPE_UP + lane], f[SLOPE_DOWN + lane]
        w = f[W + lane]
        if family == steps.MEASURED:
            q, spread = f[Q + lane], f[SPREAD + lane]
        else:
            q, spread = (
                steps.relative_step(family, w, slope_up if up else slope_down, f[GAMMA + lane], f[SCALE + lane]),
                F(0),
            )
        step = step_up if up else step_down
        step = step if taken < u[LENGTH + lane] else F(0)
        q = steps.noisy_step(form, q, spread, c2c, additive, xi)
        f[W + lane] = steps.moved(w, step, q, f[W_MIN + lane], f[W_MAX + lane])


@inline
def _store(f, u, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Put the devices of a group of lanes back, and draw what pulsed ones read as."""
    hidden, pulses, read, rows, _ = chip
    k2, k3, write_noise = scalars[2], scalars[3], scalars[7]
    for lane in range(lanes):
        at = np.uint64(cell + lane)
        hidden[at] = f[W + lane]
        pulses[at] = U(pulses[at] + u[LENGTH + lane])
    if write_noise > F(0):
        for lane in range(lanes):
            at = np.uint64(cell + lane)
            if u[LENGTH + lane] > U(0):
                xi = keyed.gaussian(k2, k3, U(at), pulses[at])
                alive = F(0) if rows[0, at] == F(0) and rows[1, at] == F(0) else F(1)
                read[at] = F(hidden[at] + F(F(write_noise * alive) * xi))


@inline
def _drain(family, form, f, u, queue, first, rounds, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Apply the queued pulses of a group of lanes, `rounds` in the longest queue."""
    _load(family, f, u, queue, first, chip, cell, lanes, scalars)
    for r in range(rounds):
        _round(family, form, f, u, chip[4], r, scalars)
    _store(f, u, chip, cell, lanes, scalars)


@inline
def _tile(family, form, chip, n_in, columns_side, rows_side, row, tile, repeat, snaps, scalars, scratch):  # type: ignore[no-untyped-def]
    """Apply all pieces of a row to one tile of its devices, and note columns when their turn comes."""
    f, u, queue = scratch
    x_tile, x_fires = columns_side
    start, index, words = rows_side
    stops, columns, order, snap_start, out = snaps
    pieces, column = x_fires.shape[1], tile * TILE
    width = min(TILE, n_in - column)
    entry, last, snap = start[row], start[row + 1], snap_start[tile]
    bound, needed = S(0), S(0)
    while True:
        more = snap < snap_start[tile + 1]
        stop = stops[order[snap]] if more else S(pieces)
        full = False
        while entry < last and index[entry] < stop and not full:
            if x_fires[tile, index[entry]]:
                needed = S(keyed.popcount(U(words[entry] & U(0x7FFFFFFF))))
                full = bound + needed > SLOTS
                if full:
                    break
                _collect(queue, x_tile, (np.int64(tile) * pieces + index[entry]) * TILE, words[entry])
                bound = S(bound + needed)
            entry += 1
        wanted = columns[order[snap]] - column if more else 0
        at_end = not full and not more
        if at_end and repeat > 1:  # queues hold on from one repetition to the next
            repeat -= 1
            entry = start[row]
            continue
        bound = S(0)
        for first in range(0, width, LANES):
            rounds = _longest(queue, first)
            if full:
                due = rounds + needed > SLOTS
            else:
                due = at_end or wanted // LANES * LANES == first
            if due and rounds > 0:
                cell = np.int64(row) * n_in + column + first
                _drain(family, form, f, u, queue, first, rounds, chip, cell, min(LANES, width - first), scalars)
            elif not due:
                bound = max(bound, rounds)
        if at_end:
            break
        if not full:
            out[order[snap], row] = chip[2][np.int64(row) * n_in + column + wanted]
            snap += 1


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    @nb.njit(cache=True, nogil=True, error_model="numpy")
    def dense(first_row, last_row, chip, n_in, columns_side, rows_side, repeat, snaps, scalars, scratch):  # type: ignore[no-untyped-def]
        prefer_wide_vectors()
        for tile in range(columns_side[1].shape[0]):  # a tile's words stay in the cache for all rows
            for row in range(first_row, last_row):
                _tile(family, form, chip, n_in, columns_side, rows_side, row, tile, repeat, snaps, scalars, scratch)

    return dense
