"""The kernel that looks at every device: for dense updates, where most devices of a batch see pulses.

Row by row and tile by tile: each device collects the signs of its coincidences in a queue of one word (the highest set
bit marks its end), piece after piece; then the queues of `LANES` neighbours are drained in lock step, their weights in
vector registers or the nearest cache. Everything in the loops over lanes must vectorise, a test reads the assembly.
"""

from typing import Any

import numba
import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.lookup import look_up_lanes
from rpudriver.backends.simulated.kernels.pieces import SLOTS, TILE
from rpudriver.backends.simulated.kernels.scratch import (
    FLOATS,
    GAMMA,
    LANES,
    LENGTH,
    LINE,
    PHASE,
    SCALE,
    SEEN,
    SIGNS,
    SLOPE_DOWN,
    SLOPE_UP,
    SPREAD,
    STEP_DOWN,
    STEP_UP,
    W_MAX,
    W_MIN,
    WORDS,
    Q,
    W,
)
from rpudriver.keyed import arrays
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import (
    fetch_words,
    floats_on_the_stack,
    leading_zeros,
    load_float,
    prefer_wide_vectors,
    push,
    put_words,
    shift_left,
    store_float,
    words_on_the_stack,
)

carray: Any = numba.carray  # type: ignore[attr-defined]  # not exported by name in its stubs
F, U, S = np.float32, np.uint32, np.int32
CACHED = 4096  # words of trains that fit into the fastest cache beside the devices
EMPTY = U(1)  # a queue that holds nothing but its end mark
WEYL_CELL, WEYL_PULSE = U(arrays.WEYL_CELL), U(arrays.WEYL_PULSE)
inline = keyed.inline


@inline
def _collect(queue, x_tile, first, d_word, lanes):  # type: ignore[no-untyped-def]
    """Add the coincidences of one piece of a row to the queues of a tile."""
    slots = U(d_word & U(0x7FFFFFFF))
    for lane in range(lanes):
        x_word = x_tile[np.uint64(first + lane)]
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
def _load(family, form, f, u, queue, first, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Bring the devices of a group of lanes into the scratch, and their queues."""
    hidden, pulses, _, rows, cells = chip
    k0, k1, strength = scalars[0], scalars[1], scalars[4]
    fetch_words(f, W, hidden, cell, lanes)
    fetch_words(u, SEEN, pulses, cell, lanes)
    fetch_words(f, STEP_UP, rows, cell, lanes)
    fetch_words(f, STEP_DOWN, rows, cells + cell, lanes)
    fetch_words(f, W_MAX, rows, 2 * cells + cell, lanes)
    fetch_words(f, W_MIN, rows, 3 * cells + cell, lanes)
    if steps.has_slope(family):
        fetch_words(f, SLOPE_UP, rows, 4 * cells + cell, lanes)
        fetch_words(f, SLOPE_DOWN, rows, 5 * cells + cell, lanes)
    if steps.has_gamma(family):
        fetch_words(f, GAMMA, rows, 6 * cells + cell, lanes)
        fetch_words(f, SCALE, rows, 7 * cells + cell, lanes)
    line = U(k0 + U(U(cell) * WEYL_CELL))
    for lane in range(LANES):
        signs = queue[first + lane]
        above = leading_zeros(signs)
        u[LENGTH + lane] = U(U(31) - above)
        u[SIGNS + lane] = shift_left(shift_left(signs, above), U(1))  # the oldest pulse in the top bit
        f[STEP_UP + lane] = F(f[STEP_UP + lane] * strength)
        f[STEP_DOWN + lane] = F(-F(f[STEP_DOWN + lane] * strength))
        if form != steps.QUIET:
            u[PHASE + lane] = U(k1 + U(u[SEEN + lane] * WEYL_PULSE))
            u[LINE + lane] = U(line + U(U(lane) * WEYL_CELL))
        u[SEEN + lane] = U(u[SEEN + lane] + u[LENGTH + lane])
    for lane in range(LANES):
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
    hidden, pulses, read, _, _ = chip
    k2, k3, write_noise = scalars[2], scalars[3], scalars[7]
    put_words(hidden, cell, f, W, lanes)
    put_words(pulses, cell, u, SEEN, lanes)
    if write_noise > F(0):
        for lane in range(lanes):
            if u[LENGTH + lane] > U(0):
                xi = keyed.gaussian(k2, k3, U(cell + lane), u[SEEN + lane])
                dead = f[STEP_UP + lane] == F(0) and f[STEP_DOWN + lane] == F(0)
                store_float(read, cell + lane, f[W + lane] if dead else F(f[W + lane] + F(write_noise * xi)))


@inline
def _drain(family, form, f, u, queue, first, rounds, chip, table, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Apply the queued pulses of a group of lanes, `rounds` in the longest queue."""
    if lanes == LANES:  # a length known to the compiler: copies become single instructions
        _load(family, form, f, u, queue, first, chip, cell, LANES, scalars)
    else:
        _load(family, form, f, u, queue, first, chip, cell, lanes, scalars)
    for r in range(rounds):
        _round(family, form, f, u, table, r, scalars)
    if lanes == LANES:
        _store(f, u, chip, cell, LANES, scalars)
    else:
        _store(f, u, chip, cell, lanes, scalars)


@inline
def _fill(queue, x_words, x_fires, tile, narrow, index, words, entry, last, stop, bound):  # type: ignore[no-untyped-def]
    """Collect the pieces of a row from `entry` on, up to piece `stop`, for as long as queues surely hold them.

    Returns the entry that comes next, the longest that a queue may be, and how many pulses the next piece may add, 0
    where it is for another reason than want of room that collecting ended.
    """
    pieces = np.int64(x_fires.shape[1])
    while entry < last and index[entry] < stop:
        piece, word = index[entry], words[entry]
        if x_fires[tile, piece]:
            most = S(keyed.popcount(U(word & U(0x7FFFFFFF))))
            if bound + most > SLOTS:
                return entry, bound, most
            first = (tile * pieces + piece) * TILE
            if narrow:  # two lengths, both known to the compiler
                _collect(queue, x_words, first, word, LANES)
            else:
                _collect(queue, x_words, first, word, TILE)
            bound = S(bound + most)
        entry += 1
    return entry, bound, S(0)


@inline
def _drain_due(family, form, f, u, queue, chip, table, cell, width, most, at_end, wanted, scalars):  # type: ignore[no-untyped-def]
    """Drain the groups of lanes of a tile whose turn it is; return the longest queue that is left.

    That is those without room for `most` more pulses, else all at the end, else the one of column `wanted`.
    """
    left = S(0)
    for lane in range(0, width, LANES):
        rounds = _longest(queue, lane)
        due = rounds + most > SLOTS if most > 0 else (at_end or wanted // LANES * LANES == lane)
        if due and rounds > 0:
            lanes = min(LANES, width - lane)
            _drain(family, form, f, u, queue, lane, rounds, chip, table, cell + lane, lanes, scalars)
        elif not due:
            left = max(left, rounds)
    return left


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    def dense(  # type: ignore[no-untyped-def]
        first_row, last_row, chip, table, n_in, pieces, x_words, x_fires, repeat, columns, order, snaps, out, scalars
    ):
        prefer_wide_vectors()
        start, index, words, _, _, stops = pieces
        f = carray(floats_on_the_stack(FLOATS), FLOATS)
        u = carray(words_on_the_stack(WORDS), WORDS)
        queue = carray(words_on_the_stack(TILE), TILE)
        for lane in range(FLOATS):
            f[lane] = F(0)
        for lane in range(TILE):
            queue[lane] = EMPTY
        rows, tiles = last_row - first_row, x_fires.shape[0]
        # a tile's words stay in the fastest cache for all rows; where those of all tiles do, row after row is better
        whole_rows = x_words.size <= CACHED
        for at in range(tiles * rows):
            row = first_row + (at // tiles if whole_rows else at % rows)
            tile = at % tiles if whole_rows else at // rows
            cell, width = row * n_in + tile * TILE, min(TILE, n_in - tile * TILE)
            entry, last, snap, bound, left = start[row], start[row + 1], snaps[tile], S(0), repeat
            while True:
                more = snap < snaps[tile + 1]
                stop = stops[order[snap]] if more else S(x_fires.shape[1])
                entry, bound, most = _fill(
                    queue, x_words, x_fires, tile, width <= LANES, index, words, entry, last, stop, bound
                )
                at_end = most == 0 and not more
                if at_end and left > 1:  # queues hold on from one repetition to the next
                    left -= 1
                    entry = start[row]
                    continue
                wanted = columns[order[snap]] - tile * TILE if more else 0
                bound = _drain_due(family, form, f, u, queue, chip, table, cell, width, most, at_end, wanted, scalars)
                if at_end:
                    break
                if most == 0:
                    out[order[snap], row] = load_float(chip[2], cell + wanted)
                    snap += 1

    return compiled_as(f"dense_{family}_{form}", dense)
