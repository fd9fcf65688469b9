"""The kernel that looks only where both lines fire: for sparse updates, where most devices see nothing."""

from typing import Any

import numpy as np

from rpudriver.backends.simulated.kernels import steps
from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.lookup import look_up
from rpudriver.backends.simulated.kernels.pieces import SLOTS
from rpudriver.keyed import native as keyed
from rpudriver.keyed.intrinsics import load_float, load_word, store_float, store_word, trailing_zeros

F, U, S = np.float32, np.uint32, np.int32
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
    w = steps.moved(w, step, steps.noisy_step(form, q, spread, c2c, additive, xi), w_min, w_max, True)
    store_float(hidden, cell, w)
    store_word(pulses, cell, U(seen + U(1)))
    if write_noise > F(0):
        xi = keyed.gaussian(k2, k3, U(cell), U(seen + U(1)))
        store_float(read, cell, w if nominal == F(0) else F(w + F(write_noise * xi)))


def build(family: int, form: int) -> Any:
    """Return the kernel of a response family and a form of noise, compiled when it is first called."""

    def sparse(first, last, chip, table, n_in, pieces, slot_start, fired, repeat, columns, out, scalars):  # type: ignore[no-untyped-def]
        start, index, words, _, _, stops = pieces
        for row in range(first, last):
            snap, cell = 0, row * n_in
            for _ in range(repeat):
                for entry in range(start[row], start[row + 1]):
                    piece, word = index[entry], words[entry]
                    while snap < len(stops) and stops[snap] <= piece:
                        out[snap, row] = load_float(chip[2], cell + columns[snap])
                        snap += 1
                    rest = U(word & U(0x7FFFFFFF))
                    while rest != 0:  # slot after slot
                        slot = SLOTS * piece + S(trailing_zeros(rest))
                        for at in range(slot_start[slot], slot_start[slot + 1]):
                            line = fired[at]
                            up = S(U(line ^ word)) >= S(0)
                            at_cell = cell + np.int64(U(line & U(0x7FFFFFFF)))
                            _pulse(family, form, chip, table, at_cell, up, scalars)
                        rest = U(rest & U(rest - U(1)))
            while snap < len(stops):
                out[snap, row] = load_float(chip[2], cell + columns[snap])
                snap += 1

    return compiled_as(f"sparse_{family}_{form}", sparse)
