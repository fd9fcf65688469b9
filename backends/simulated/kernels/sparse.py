"""The kernel that looks only where both lines fire: for sparse updates, where most devices see nothing."""

from typing import Any

import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.lookup import look_up
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import load_float, load_word, store_float, store_word

F, U, S = np.float32, np.uint32, np.int32
inline = keyed.inline


@inline
def _slope(family, up, w_max, w_min, rows, cells, cell):  # type: ignore[no-untyped-def]
    if family == steps.SOFT_BOUNDS:
        return F(F(1) / (w_max if up else w_min))
    if family == steps.LINEAR or family == steps.POWER or family == steps.EXPONENTIAL:
        slope = load_float(rows, 4 * cells + cell)
        return slope if up else F(-slope)
    return F(0)


@inline
def _pulse(family, form, chip, table, cell, count, up, scalars):  # type: ignore[no-untyped-def]
    """Apply `count` pulses of one direction to one device, and draw what it reads as."""
    hidden, pulses, read, rows, cells = chip
    k0, k1, k2, k3, strength, c2c, additive, write_noise = scalars
    w, seen = load_float(hidden, cell), load_word(pulses, cell)
    w_max, w_min = load_float(rows, 2 * cells + cell), load_float(rows, 3 * cells + cell)
    nominal = load_float(rows, cell if up else cells + cell)
    step = F(nominal * strength) if up else F(-F(nominal * strength))
    slope = _slope(family, up, w_max, w_min, rows, cells, cell)
    gamma, scale = F(0), F(0)
    if family == steps.POWER or family == steps.EXPONENTIAL:
        gamma, scale = load_float(rows, 5 * cells + cell), load_float(rows, 6 * cells + cell)
    for _ in range(count):
        xi = F(0) if form == steps.QUIET else keyed.gaussian(k0, k1, U(cell), seen)
        q, spread = F(0), F(0)
        if family == steps.MEASURED:
            q, spread = look_up(w, up, table)
        else:
            q = steps.relative_step(family, w, slope, gamma, scale)
        w = steps.moved(w, step, steps.noisy_step(form, q, spread, c2c, additive, xi), w_min, w_max)
        seen = U(seen + U(1))
    store_float(hidden, cell, w)
    store_word(pulses, cell, seen)
    if write_noise > F(0):
        xi = keyed.gaussian(k2, k3, U(cell), seen)
        store_float(read, cell, w if nominal == F(0) else F(w + F(write_noise * xi)))


@inline
def _row(
    family,
    form,
    chip,
    table,
    n_in,
    x_start,
    x_index,
    x_words,
    index,
    words,
    entry,
    last,
    row,
    repeat,
    stops,
    columns,
    out,
    scalars,
):  # type: ignore[no-untyped-def]
    """Apply the pieces ``entry..last`` to the devices of a row, and note columns when their turn comes."""
    snap, cell = 0, row * n_in
    for _ in range(repeat):
        for at in range(entry, last):
            piece, word = index[at], words[at]
            while snap < len(stops) and stops[snap] <= piece:
                out[snap, row] = load_float(chip[2], cell + columns[snap])
                snap += 1
            slots = U(word & U(0x7FFFFFFF))
            for line in range(x_start[piece], x_start[piece + 1]):
                x_word = x_words[line]
                count = keyed.popcount(U(x_word & slots))
                if count > 0:
                    up = S(U(x_word ^ word)) >= S(0)
                    _pulse(family, form, chip, table, cell + x_index[line], count, up, scalars)
    while snap < len(stops):
        out[snap, row] = load_float(chip[2], cell + columns[snap])
        snap += 1


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    def sparse(
        first_row,
        last_row,
        chip,
        table,
        n_in,
        x_start,
        x_index,
        x_words,
        start,
        index,
        words,
        repeat,
        stops,
        columns,
        out,
        scalars,
    ):  # type: ignore[no-untyped-def]
        for row in range(first_row, last_row):
            _row(
                family,
                form,
                chip,
                table,
                n_in,
                x_start,
                x_index,
                x_words,
                index,
                words,
                start[row],
                start[row + 1],
                row,
                repeat,
                stops,
                columns,
                out,
                scalars,
            )

    return compiled_as(f"sparse_{family}_{form}", sparse)
