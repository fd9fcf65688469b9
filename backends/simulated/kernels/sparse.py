"""The kernel that looks only where both lines fire: for sparse updates, where most devices see nothing.

Up to sixteen devices of a slot can be moved at a time: they differ, as their columns do.
"""

from typing import Any

import numba
import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.calls import as_words
from rpudriver.backends.simulated.kernels.lookup import look_up
from rpudriver.backends.simulated.kernels.pieces import SLOTS
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
    SLOPE_UP,
    STEP_UP,
    W_MAX,
    W_MIN,
    WORDS,
    W,
)
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import (
    choose,
    fetch_words,
    floats_on_the_stack,
    gather_words,
    load_float,
    load_word,
    prefer_wide_vectors,
    prefetch,
    scatter_words,
    store_float,
    store_word,
    trailing_zeros,
    words_on_the_stack,
)

carray: Any = numba.carray  # type: ignore[attr-defined]  # not exported by name in its stubs
F, U, S, U8 = np.float32, np.uint32, np.int32, np.uint64
COLUMN = U(0x7FFFFFFF)  # of a line that fires; the bit above is its sign
FEW = 4  # devices that are not worth a vector
AHEAD = 8  # rows whose first device is fetched meanwhile
inline = keyed.inline


@inline
def _pulse(family, form, chip, table, cell, up, scalars):  # type: ignore[no-untyped-def]
    """Apply one pulse to one device, and draw what it reads as."""
    hidden, pulses, read, rows, cells = chip
    k0, k1, k2, k3, strength, c2c, additive, write_noise = scalars
    w, seen = load_float(hidden, cell), load_word(pulses, cell)
    w_max, w_min = load_float(rows, 2 * cells + cell), load_float(rows, 3 * cells + cell)
    nominal = load_float(rows, cell if up else cells + cell)
    step = F(nominal * strength) if up else F(-F(nominal * strength))
    xi = F(0) if form == steps.QUIET else keyed.gaussian(k0, k1, U(cell), seen)
    q, spread, slope, gamma, scale = F(0), F(0), F(0), F(0), F(0)
    if steps.has_slope(family):
        slope = load_float(rows, (4 if up else 5) * cells + cell)
    if steps.has_gamma(family):
        gamma, scale = load_float(rows, 6 * cells + cell), load_float(rows, 7 * cells + cell)
    if family == steps.MEASURED:
        q, spread = look_up(w, up, table)
    else:
        q = steps.relative_step(family, w, slope, gamma, scale)
    w = steps.moved(form, w, step, q, spread, (c2c, additive, xi), w_min, w_max, True)
    store_float(hidden, cell, w)
    store_word(pulses, cell, U(seen + U(1)))
    if write_noise > F(0):
        xi = keyed.gaussian(k2, k3, U(cell), U(seen + U(1)))
        store_float(read, cell, w if nominal == F(0) else F(w + F(write_noise * xi)))


@inline
def _fetch(family, f, u, chip, table, cell, lines, at, count, word):  # type: ignore[no-untyped-def]
    """Bring the devices of a row whose lines fire in one slot, from `at` on, into the scratch."""
    hidden, pulses, _, rows, cells = chip
    here, side = U8(4) * U8(cell), U8(4) * U8(cells)
    fetch_words(u, SIGNS, lines, at, LANES, count)
    for lane in range(LANES):
        line = u[SIGNS + lane]
        signs = U(line ^ word)
        column = U(line & COLUMN)
        u[SIGNS + lane] = signs
        u[LENGTH + lane] = column
        u[PHASE + lane] = U(column + U(U(S(signs) >> S(31)) & U(cells)))
        u[LINE + lane] = U(U(cell) + column)
    gather_words(f, W, U8(hidden + here), u, LENGTH, LANES, count)
    gather_words(u, SEEN, U8(pulses + here), u, LENGTH, LANES, count)
    gather_words(f, STEP_UP, U8(rows + here), u, PHASE, LANES, count)
    gather_words(f, W_MAX, U8(rows + here + U8(2) * side), u, LENGTH, LANES, count)
    gather_words(f, W_MIN, U8(rows + here + U8(3) * side), u, LENGTH, LANES, count)
    if steps.has_slope(family):
        gather_words(f, SLOPE_UP, U8(rows + here + U8(4) * side), u, PHASE, LANES, count)
    if steps.has_gamma(family):
        gather_words(f, GAMMA, U8(rows + here + U8(6) * side), u, LENGTH, LANES, count)
        gather_words(f, SCALE, U8(rows + here + U8(7) * side), u, LENGTH, LANES, count)
    if family == steps.MEASURED:
        for lane in range(count):
            f[GAMMA + lane], f[SCALE + lane] = look_up(f[W + lane], S(u[SIGNS + lane]) >= S(0), table)


@inline
def _move(family, form, f, u, scalars):  # type: ignore[no-untyped-def]
    """Apply one pulse to every device in the scratch, and draw what it reads as."""
    k0, k1, k2, k3, strength, c2c, additive, write_noise = scalars
    for lane in range(LANES):
        w, up = f[W + lane], S(u[SIGNS + lane]) >= S(0)
        step = F(f[STEP_UP + lane] * strength)
        step = choose(up, step, F(-step))
        xi = F(0) if form == steps.QUIET else keyed.gaussian(k0, k1, u[LINE + lane], u[SEEN + lane])
        if family == steps.MEASURED:
            q, spread = f[GAMMA + lane], f[SCALE + lane]
        else:
            q, spread = (
                steps.relative_step(family, w, f[SLOPE_UP + lane], f[GAMMA + lane], f[SCALE + lane]),
                F(0),
            )
        noise = c2c, additive, xi
        f[W + lane] = steps.moved(form, w, step, q, spread, noise, f[W_MIN + lane], f[W_MAX + lane], True)
        u[SEEN + lane] = U(u[SEEN + lane] + U(1))
    if write_noise > F(0):
        for lane in range(LANES):
            xi = keyed.gaussian(k2, k3, u[LINE + lane], u[SEEN + lane])
            w = f[W + lane]
            f[W_MAX + lane] = choose(f[STEP_UP + lane] == F(0), w, F(w + F(write_noise * xi)))


@inline
def _put(f, u, chip, cell, count, write_noise):  # type: ignore[no-untyped-def]
    """Put the devices back."""
    hidden, pulses, read, _, _ = chip
    here = U8(4) * U8(cell)
    scatter_words(U8(hidden + here), u, LENGTH, f, W, LANES, count)
    scatter_words(U8(pulses + here), u, LENGTH, u, SEEN, LANES, count)
    if write_noise > F(0):
        scatter_words(U8(read + here), u, LENGTH, f, W_MAX, LANES, count)


@inline
def _slot(family, form, in_vectors, f, u, chip, table, cell, fired, at, end, word, scalars):  # type: ignore[no-untyped-def]
    """Apply the pulses of one slot to a row: those of the lines `fired` from `at` to `end`, no two on one device."""
    while in_vectors and end - at >= FEW:
        count = min(LANES, end - at)
        _fetch(family, f, u, chip, table, cell, fired, at, count, word)
        _move(family, form, f, u, scalars)
        _put(f, u, chip, cell, count, scalars[7])
        at += count
    for k in range(at, end):
        line = load_word(fired, k)
        up = S(U(line ^ word)) >= S(0)
        _pulse(family, form, chip, table, cell + np.int64(U(line & COLUMN)), up, scalars)


@inline
def _expect(family, pieces, slot_start, lines, row, n_in, chip):  # type: ignore[no-untyped-def]
    """Have the first device fetched that a row will move: rows that fire on one column are far apart."""
    start, index, words, _ = pieces
    hidden, pulses, _, rows, cells = chip
    first = start[row]
    if first < start[row + 1]:
        word = words[first]
        slot = SLOTS * index[first] + S(trailing_zeros(word))
        if slot_start[slot] < slot_start[slot + 1]:
            line = load_word(lines, slot_start[slot])
            cell = row * n_in + np.int64(U(line & COLUMN))
            side = np.int64(U(U(line ^ word) >> U(31)))
            prefetch(hidden, cell)
            prefetch(pulses, cell)
            prefetch(rows, side * cells + cell)
            prefetch(rows, 2 * cells + cell)
            prefetch(rows, 3 * cells + cell)
            if steps.has_slope(family):
                prefetch(rows, (4 + side) * cells + cell)
            if steps.has_gamma(family):
                prefetch(rows, 6 * cells + cell)
                prefetch(rows, 7 * cells + cell)


def build(family: int, form: int, in_vectors: bool) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called.

    With `in_vectors` up to sixteen devices are moved at a time, else each on its own; the bits are the same.
    """

    def sparse(first, last, chip, table, n_in, pieces, slot_start, fired, repeat, columns, out, scalars):  # type: ignore[no-untyped-def]
        prefer_wide_vectors()
        chip, table, scalars = as_words(chip, table, scalars)
        start, index, words, stops = pieces
        lines = np.uint64(fired.ctypes.data)
        f = carray(floats_on_the_stack(FLOATS), FLOATS)
        u = carray(words_on_the_stack(WORDS), WORDS)
        for lane in range(FLOATS):
            f[lane] = F(0)
        for row in range(first, last):
            snap, cell = 0, row * n_in
            if row + AHEAD < last:
                _expect(family, pieces, slot_start, lines, row + AHEAD, n_in, chip)
            for _ in range(repeat):
                for entry in range(start[row], start[row + 1]):
                    piece, word = index[entry], words[entry]
                    while snap < len(stops) and stops[snap] <= piece:
                        out[snap, row] = load_float(chip[2], cell + columns[snap])
                        snap += 1
                    rest = U(word & U(0x7FFFFFFF))
                    while rest != 0:  # slot after slot
                        slot = SLOTS * piece + S(trailing_zeros(rest))
                        at, end = slot_start[slot], slot_start[slot + 1]
                        _slot(family, form, in_vectors, f, u, chip, table, cell, lines, at, end, word, scalars)
                        rest = U(rest & U(rest - U(1)))
            while snap < len(stops):
                out[snap, row] = load_float(chip[2], cell + columns[snap])
                snap += 1

    return compiled_as(f"sparse_{family}_{form}_{int(in_vectors)}", sparse)
