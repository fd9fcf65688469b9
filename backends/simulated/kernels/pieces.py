"""Pulse trains as the kernels take them: cut into pieces of one word, lines without pulses left out.

A *piece* is up to 31 slots of one sample; its word carries the line's sign in bit 31. Longer trains make several pieces
of a sample, one after the other, so that kernels need not know of samples.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpudriver.keyed.intrinsics import trailing_zeros
from rpudriver.keyed.native import compiled, inline, popcount
from rpudriver.types import PulseTrains

U, S = np.uint32, np.int32
SLOTS = 31  # of a piece
SIGN = U(0x80000000)
TILE = 128  # columns that a kernel looks at together; their words for a batch stay in the fastest cache

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int32]
Slots = tuple[Numbers, Words]  # what `slots_of` returns


class Pieces(NamedTuple):
    """The pieces of a batch of trains.

    Attributes
    ----------
    start, entries, words : those from ``start[i]`` to ``start[i + 1]`` are the pieces in which row i fires: the number
        of each, and its word.
    columns : the words of the columns, ``[pieces, n_in]``, 0 where a column does not fire.
    coincidences : roughly how many pulses devices will see.
    stops : how many pieces the first ``after[r]`` samples make, for each snapshot.
    """

    start: Numbers
    entries: Numbers
    words: Words
    columns: Words
    coincidences: float
    stops: Numbers


def cut(trains: PulseTrains, flip: bool, after: npt.NDArray[np.int64]) -> Pieces:
    """Return the pieces of a batch. `flip` reverses every sign."""
    x_words, d_words, x_negative, d_negative, bl = trains.arrays
    sign = SIGN if flip else U(0)
    return Pieces(*_cut(x_words, d_words, x_negative, d_negative, bl, sign, after))


@inline
def _places(bl):  # type: ignore[no-untyped-def]
    """Return the sample and the first slot of each piece, and the number of pieces before each sample."""
    before = np.zeros(len(bl) + 1, np.int32)
    for b in range(len(bl)):
        before[b + 1] = before[b] + np.int32((bl[b] + SLOTS - 1) // SLOTS)
    samples, slots = np.empty(before[-1], np.int32), np.empty(before[-1], np.int32)
    for b in range(len(bl)):
        for piece in range(before[b], before[b + 1]):
            samples[piece], slots[piece] = b, (piece - before[b]) * SLOTS
    return samples, slots, before


@compiled
def _signed(slots, negative, sign, out):  # type: ignore[no-untyped-def]
    """Add the signs of lines that fire."""
    for line in range(len(out)):
        word = U(slots[line] & U(0x7FFFFFFF))
        signed = U(word | U(sign ^ U(U(negative[line]) << U(31))))
        out[line] = signed if word != U(0) else U(0)


@compiled
def _lines(words, negative, samples, slots, sign):  # type: ignore[no-untyped-def]
    """Return the words of one side, ``[pieces, n]``."""
    lines = words.shape[1]
    out, piece_words = np.empty((len(samples), lines), np.uint32), np.empty(lines, np.uint32)
    for piece in range(len(samples)):
        b, word, shift = samples[piece], slots[piece] // 32, np.uint64(slots[piece] % 32)
        if words.shape[2] == 1 and slots[piece] == 0:
            _signed(words[b].reshape(lines), negative[b], sign, out[piece])
            continue
        for line in range(lines):
            both = np.uint64(words[b, line, word])
            if word + 1 < words.shape[2]:
                both |= np.uint64(words[b, line, word + 1]) << np.uint64(32)
            piece_words[line] = U(both >> shift)
        _signed(piece_words, negative[b], sign, out[piece])
    return out


@compiled
def _ones(words):  # type: ignore[no-untyped-def]
    """Return how many slots fire."""
    ones = U(0)
    for line in range(len(words)):
        ones = U(ones + popcount(U(words[line] & U(0x7FFFFFFF))))
    return ones


@compiled
def _add_seen(words, seen):  # type: ignore[no-untyped-def]
    for line in range(len(words)):
        seen[line] = U(seen[line] | words[line])


@compiled
def _cut(x_words, d_words, x_negative, d_negative, bl, flip, after):  # type: ignore[no-untyped-def]
    samples, slots, before = _places(bl)
    columns = _lines(x_words, x_negative, samples, slots, U(0))
    rows = _lines(d_words, d_negative, samples, slots, flip)
    pieces, lines = rows.shape
    coincidences = 0.0
    for piece in range(pieces):
        length = min(bl[samples[piece]] - slots[piece], SLOTS)
        coincidences += np.float64(_ones(columns[piece])) * np.float64(_ones(rows[piece])) / length
    start, index = np.zeros(lines + 1, np.int32), np.empty(rows.size + 1, np.int32)
    words, seen = np.empty(rows.size + 1, np.uint32), np.zeros(lines, np.uint32)
    for piece in range(pieces):
        _add_seen(rows[piece], seen)
    used = 0
    for line in range(lines):
        for piece in range(pieces if seen[line] != 0 else 0):
            word = rows[piece, line]  # without a branch: in which pieces a line fires cannot be foreseen
            index[used] = piece
            words[used] = word
            used += 1 if word != 0 else 0
        start[line + 1] = used
    stops = np.empty(len(after), np.int32)
    for r in range(len(after)):
        stops[r] = before[after[r]]
    return start, index[:used], words[:used], columns, coincidences, stops


@compiled
def tiles_of(columns):  # type: ignore[no-untyped-def]
    """Return words of columns as one row of tiles, ``[tiles * pieces * TILE]``, and whether any fires in each.

    Parameters
    ----------
    columns : uint32 ``[pieces, n_in]``
    """
    pieces, lines = columns.shape
    tiles = (lines + TILE - 1) // TILE
    out = np.zeros(tiles * pieces * TILE, np.uint32)
    fires = np.zeros((tiles, pieces), np.bool_)
    for tile in range(tiles):
        first = tile * TILE
        width = min(TILE, lines - first)
        for piece in range(pieces):
            place = (tile * pieces + piece) * TILE
            out[place : place + width] = columns[piece, first : first + width]
            seen = U(0)
            for lane in range(width):
                seen = U(seen | columns[piece, first + lane])
            fires[tile, piece] = seen != U(0)
    return out, fires


@compiled
def slots_of(columns):  # type: ignore[no-untyped-def]
    """Return which columns fire in each slot.

    Parameters
    ----------
    columns : uint32 ``[pieces, n_in]``

    Returns
    -------
    start : int32; entries ``start[31 p + s]..`` are those of slot s of piece p.
    fired : uint32, the columns, their signs in bit 31.
    """
    pieces, lines = columns.shape
    start = np.zeros(SLOTS * pieces + 1, np.int32)
    active = np.empty(lines, np.int32)
    for piece in range(pieces):
        for line in range(lines):
            rest = U(columns[piece, line] & U(0x7FFFFFFF))
            while rest != 0:
                start[SLOTS * piece + S(trailing_zeros(rest)) + 1] += 1
                rest = U(rest & U(rest - U(1)))
    for k in range(SLOTS * pieces):
        start[k + 1] += start[k]
    fired, place = np.empty(start[-1], np.uint32), start[:-1].copy()
    for piece in range(pieces):
        count = 0
        for line in range(lines):  # without a branch, as above
            active[count] = line
            count += 1 if columns[piece, line] != 0 else 0
        for n in range(count):
            word = columns[piece, active[n]]
            rest, entry = U(word & U(0x7FFFFFFF)), U(U(active[n]) | U(word & SIGN))
            while rest != 0:
                slot = SLOTS * piece + S(trailing_zeros(rest))
                fired[place[slot]] = entry
                place[slot] += 1
                rest = U(rest & U(rest - U(1)))
    return start, fired
