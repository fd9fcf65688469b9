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
from rpudriver.backends.simulated.kernels.calls import as_words
from rpudriver.backends.simulated.kernels.lookup import found_lane, has_left, look_up_lane
from rpudriver.backends.simulated.kernels.pieces import SLOTS, TILE
from rpudriver.backends.simulated.kernels.scratch import (
    FLOATS,
    FOUND,
    GAMMA,
    LANES,
    LEFT,
    LENGTH,
    LINE,
    PHASE,
    SCALE,
    SEEN,
    SIGNS,
    SLOPE_DOWN,
    SLOPE_UP,
    STEP_DOWN,
    STEP_UP,
    W_MAX,
    W_MIN,
    WEIGHT,
    WORDS,
    W,
)
from rpudriver.keyed import arrays
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import (
    address_of,
    any_of,
    choose,
    copy_words,
    fetch_words,
    fill_words,
    floats_on_the_stack,
    leading_zeros,
    load_float,
    prefer_wide_vectors,
    push,
    put_words,
    shift_left,
    store_float,
    trailing_zeros,
    words_on_the_stack,
)

carray: Any = numba.carray  # type: ignore[attr-defined]  # not exported by name in its stubs
F, U, S = np.float32, np.uint32, np.int32
NARROW = 32  # columns of a tile that need not look at all
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
    return S(31) - S(leading_zeros(any_of(queue, first, LANES)))


@inline
def _load(family, form, f, u, queue, first, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Bring the devices of a group of lanes into the scratch, and their queues."""
    hidden, pulses, _, rows, cells = chip
    k0, k1, strength = scalars[0], scalars[1], scalars[4]
    fetch_words(f, W, hidden, cell, LANES, lanes)
    fetch_words(u, SEEN, pulses, cell, LANES, lanes)
    fetch_words(f, STEP_UP, rows, cell, LANES, lanes)
    fetch_words(f, STEP_DOWN, rows, cells + cell, LANES, lanes)
    fetch_words(f, W_MAX, rows, 2 * cells + cell, LANES, lanes)
    fetch_words(f, W_MIN, rows, 3 * cells + cell, LANES, lanes)
    if steps.has_slope(family):
        fetch_words(f, SLOPE_UP, rows, 4 * cells + cell, LANES, lanes)
        fetch_words(f, SLOPE_DOWN, rows, 5 * cells + cell, LANES, lanes)
    if steps.has_gamma(family):
        fetch_words(f, GAMMA, rows, 6 * cells + cell, LANES, lanes)
        fetch_words(f, SCALE, rows, 7 * cells + cell, LANES, lanes)
    line = U(k0 + U(U(cell) * WEYL_CELL))
    copy_words(u, SIGNS, queue, first, LANES)
    fill_words(queue, first, EMPTY, LANES)
    for lane in range(LANES):
        signs = u[SIGNS + lane]
        above = leading_zeros(signs)
        u[LENGTH + lane] = U(U(31) - above)
        # the oldest pulse in the top bit, a set bit after the latest
        u[SIGNS + lane] = U(shift_left(shift_left(signs, above), U(1)) | shift_left(U(1), above))
        f[STEP_UP + lane] = F(f[STEP_UP + lane] * strength)
        f[STEP_DOWN + lane] = F(-F(f[STEP_DOWN + lane] * strength))
        if form != steps.QUIET:
            u[PHASE + lane] = U(k1 + U(u[SEEN + lane] * WEYL_PULSE))
            u[LINE + lane] = keyed.fold(U(line + U(U(lane) * WEYL_CELL)))
        u[SEEN + lane] = U(u[SEEN + lane] + u[LENGTH + lane])


@inline
def _round(family, form, f, u, found, table, scalars):  # type: ignore[no-untyped-def]
    """Apply the next pulse of every lane that has one."""
    c2c, additive = scalars[5], scalars[6]
    if family == steps.MEASURED:
        left = any_of(u, LEFT, LANES)
        while left != 0:
            look_up_lane(found, trailing_zeros(left), table)
            left = U(left & U(left - U(1)))
    for lane in range(LANES):
        xi = F(0)
        if form != steps.QUIET:
            phase = u[PHASE + lane]
            u[PHASE + lane] = U(phase + WEYL_PULSE)
            xi = keyed.gaussian_from_word(keyed.mix_folded(U(u[LINE + lane] ^ keyed.fold(phase))))
        signs = u[SIGNS + lane]
        later = U(signs + signs)
        u[SIGNS + lane] = later
        up = S(signs) >= S(0)
        step = choose(up, f[STEP_UP + lane], f[STEP_DOWN + lane])
        w = f[W + lane]
        if family == steps.MEASURED:
            q, spread = found_lane(found, lane, w, up)
        else:
            slope = choose(up, f[SLOPE_UP + lane], f[SLOPE_DOWN + lane])
            q, spread = steps.relative_step(family, w, slope, f[GAMMA + lane], f[SCALE + lane]), F(0)
        noise = c2c, additive, xi
        w = steps.moved(form, w, step, q, spread, noise, f[W_MIN + lane], f[W_MAX + lane], later != U(0))
        f[W + lane] = w
        if family == steps.MEASURED:
            u[LEFT + lane] = has_left(found, lane, w)


@inline
def _store(f, u, chip, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Put the devices of a group of lanes back, and draw what pulsed ones read as."""
    hidden, pulses, read, _, _ = chip
    k2, k3, write_noise = scalars[2], scalars[3], scalars[7]
    put_words(hidden, cell, f, W, LANES, lanes)
    put_words(pulses, cell, u, SEEN, LANES, lanes)
    if write_noise > F(0):
        for lane in range(lanes):
            if u[LENGTH + lane] > U(0):
                xi = keyed.gaussian(k2, k3, U(cell + lane), u[SEEN + lane])
                dead = f[STEP_UP + lane] == F(0) and f[STEP_DOWN + lane] == F(0)
                store_float(read, cell + lane, f[W + lane] if dead else F(f[W + lane] + F(write_noise * xi)))


@inline
def _drain(family, form, f, u, found, queue, first, rounds, chip, table, cell, lanes, scalars):  # type: ignore[no-untyped-def]
    """Apply the queued pulses of a group of lanes, `rounds` in the longest queue."""
    if lanes == LANES:  # a length known to the compiler: copies become single instructions
        _load(family, form, f, u, queue, first, chip, cell, LANES, scalars)
    else:
        _load(family, form, f, u, queue, first, chip, cell, lanes, scalars)
    if family == steps.MEASURED:
        for lane in range(LANES):
            store_float(found, WEIGHT + lane, f[W + lane])
        fill_words(u, LEFT, U((1 << LANES) - 1), LANES)
    for _ in range(rounds):
        _round(family, form, f, u, found, table, scalars)
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
                _collect(queue, x_words, first, word, NARROW)
            else:
                _collect(queue, x_words, first, word, TILE)
            bound = S(bound + most)
        entry += 1
    return entry, bound, S(0)


@inline
def _drain_due(  # type: ignore[no-untyped-def]
    family, form, f, u, found, queue, chip, table, cell, width, most, at_end, wanted, scalars
):
    """Drain the groups of lanes of a tile whose turn it is; return the longest queue that is left.

    That is those without room for `most` more pulses, else all at the end, else the one of column `wanted`.
    """
    left = S(0)
    for lane in range(0, width, LANES):
        rounds = _longest(queue, lane)
        due = rounds + most > SLOTS if most > 0 else (at_end or wanted // LANES * LANES == lane)
        if due and rounds > 0:
            lanes = min(LANES, width - lane)
            _drain(family, form, f, u, found, queue, lane, rounds, chip, table, cell + lane, lanes, scalars)
        elif not due:
            left = max(left, rounds)
    return left


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    def dense(  # type: ignore[no-untyped-def]
        first_row, last_row, chip, table, n_in, pieces, x_words, x_fires, repeat, columns, order, snaps, out, scalars
    ):
        prefer_wide_vectors()
        chip, table, scalars = as_words(chip, table, scalars)
        start, index, words, stops = pieces
        f = carray(floats_on_the_stack(FLOATS), FLOATS)
        u = carray(words_on_the_stack(WORDS), WORDS)
        found = address_of(floats_on_the_stack(FOUND))
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
                    queue, x_words, x_fires, tile, width <= NARROW, index, words, entry, last, stop, bound
                )
                at_end = most == 0 and not more
                if at_end and left > 1:  # queues hold on from one repetition to the next
                    left -= 1
                    entry = start[row]
                    continue
                wanted = columns[order[snap]] - tile * TILE if more else 0
                bound = _drain_due(
                    family, form, f, u, found, queue, chip, table, cell, width, most, at_end, wanted, scalars
                )
                if at_end:
                    break
                if most == 0:
                    out[order[snap], row] = load_float(chip[2], cell + wanted)
                    snap += 1

    return compiled_as(f"dense_{family}_{form}", dense)
