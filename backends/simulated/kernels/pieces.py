"""Pulse trains as the kernels take them: cut into pieces of one word, lines without pulses left out.

A *piece* is up to 31 slots of one sample; its word carries the line's sign in bit 31. Longer trains make several pieces
of a sample, one after the other, so that kernels need not know of samples.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rpudriver.keyed.intrinsics import borrowed, trailing_zeros
from rpudriver.keyed.native import compiled, inline, popcount
from rpudriver.types import PulseTrains

U, S = np.uint32, np.int32
SLOTS = 31  # of a piece
SIGN = U(0x80000000)
APART = 16  # words between rows of a matrix whose columns are gone through: powers of two share a place in the cache
TILE = 128  # columns that a kernel looks at together; their words for a batch stay in the fastest cache

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int32]
Places = npt.NDArray[np.int64]
Slots = tuple[Numbers, Words]  # what `slots_of` returns
Tiles = tuple[Words, npt.NDArray[np.bool_], Places, Places]  # what `tiles_of` returns


class Rows(NamedTuple):
    """The pieces in which rows fire, and when columns are noted, as kernels take them.

    Attributes
    ----------
    start, entries, words : those from ``start[i]`` to ``start[i + 1]`` are the pieces in which row i fires: the number
        of each, and its word.
    stops : how many pieces the first ``after[r]`` samples make, for each snapshot.
    """

    start: Numbers
    entries: Numbers
    words: Words
    stops: Numbers


class Pieces(NamedTuple):
    """The pieces of a batch of trains.

    Attributes
    ----------
    rows : Rows
    columns : the words of the columns, ``[pieces, n_in]``, 0 where a column does not fire.
    entries : how many pieces of rows fire.
    pulses : how many pulses columns get.
    coincidences : roughly how many pulses devices will see.
    """

    rows: Rows
    columns: Words
    entries: int
    pulses: int
    coincidences: float


Memory = tuple[Numbers, Numbers, Words, Words]


def room(samples: int, longest: int, n_in: int, n_out: int) -> Memory:
    """Return memory for the pieces of so many samples of BL up to `longest`: start, entries, words and columns.

    Compiled code fills it: an array that compiled code returns costs a microsecond or two.
    """
    pieces = samples * -(-longest // SLOTS)
    entries = pieces * n_out + 1
    rows = np.empty(n_out + 1, np.int32), np.empty(entries, np.int32), np.empty(entries, np.uint32)
    return *rows, np.empty((pieces, n_in), np.uint32)


def pieces_in(memory: Memory, stops: Numbers, found: tuple[int, int, int, float]) -> Pieces:
    """Return the pieces that `cut_into` has put into some memory; `found` is what it returned."""
    start, entries, words, columns = memory
    return Pieces(Rows(start, entries, words, stops), columns[: found[0]], *found[1:])


def cut(trains: PulseTrains, flip: bool, after: Places) -> Pieces:
    """Return the pieces of a batch. `flip` reverses every sign."""
    arrays = trains.arrays
    (samples, n_in, words), n_out = arrays[0].shape, arrays[1].shape[1]
    memory, stops = room(samples, 32 * words, n_in, n_out), np.empty(len(after), np.int32)
    given: Any = (*arrays, SIGN if flip else U(0), after, *memory, stops)
    return pieces_in(memory, stops, cut_into(*given))


def tiles_of(cut: Pieces, columns: Places) -> Tiles:
    """Return the columns as one row of tiles, and the snapshots of each tile.

    Returns
    -------
    words : uint32 ``[tiles * pieces * TILE]``, 0 for columns beyond the last.
    fires : bool ``[tiles, pieces]``, whether any column fires.
    order, first : int64, snapshots by their tiles; those of tile k are ``order[first[k]:first[k + 1]]``.
    """
    pieces, lines = cut.columns.shape
    tiles = -(-lines // TILE)
    words, fires = np.empty(tiles * pieces * TILE, np.uint32), np.empty((tiles, pieces), np.bool_)
    order, first = np.empty(len(columns), np.int64), np.empty(tiles + 1, np.int64)
    fill_tiles(cut.columns, columns, words, fires, order, first)
    return words, fires, order, first


def slots_of(cut: Pieces) -> Slots:
    """Return which columns fire in each slot.

    Returns
    -------
    start : int32; entries ``start[31 p + s]..`` are those of slot s of piece p.
    fired : uint32, the columns, their signs in bit 31.
    """
    start, fired = np.empty(SLOTS * len(cut.columns) + 1, np.int32), np.empty(cut.pulses, np.uint32)
    fill_slots(cut.columns, start, fired)
    return start, fired


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
    for line in range(len(slots)):
        word = U(slots[line] & U(0x7FFFFFFF))
        signed = U(word | U(sign ^ U(U(negative[line]) << U(31))))
        out[line] = signed if word != U(0) else U(0)


@compiled
def _lines(words, negative, samples, slots, sign, out):  # type: ignore[no-untyped-def]
    """Fill the words of one side, ``[pieces, n]``."""
    words, negative, out, lines = borrowed(words), borrowed(negative), borrowed(out), words.shape[1]
    piece_words = np.empty(lines, np.uint32)
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
def cut_into(x_words, d_words, x_negative, d_negative, bl, flip, after, start, index, words, columns, stops):  # type: ignore[no-untyped-def]
    """Fill the memory of `room`; return the number of pieces, and the counts of `Pieces`."""
    samples, slots, before = _places(bl)
    columns, pieces, lines = borrowed(columns), len(samples), d_words.shape[1]
    rows, seen = np.zeros((pieces, lines + APART), np.uint32), np.zeros(lines + APART, np.uint32)
    _lines(x_words, x_negative, samples, slots, U(0), columns)
    _lines(d_words, d_negative, samples, slots, flip, rows)
    pulses, coincidences = 0, 0.0
    for piece in range(pieces):
        length, ones = min(bl[samples[piece]] - slots[piece], SLOTS), _ones(columns[piece])
        pulses += int(ones)
        coincidences += np.float64(ones) * np.float64(_ones(rows[piece])) / length
        _add_seen(rows[piece], seen)
    used = 0
    start[0] = 0
    for line in range(lines):
        for piece in range(pieces if seen[line] != 0 else 0):
            word = rows[piece, line]  # without a branch: in which pieces a line fires cannot be foreseen
            index[used] = piece
            words[used] = word
            used += 1 if word != 0 else 0
        start[line + 1] = used
    for r in range(len(after)):
        stops[r] = before[after[r]]
    return pieces, used, pulses, coincidences


@compiled
def fill_tiles(columns, noted, out, fires, order, first):  # type: ignore[no-untyped-def]
    """Do what `tiles_of` says."""
    pieces, lines = columns.shape
    for tile in range(len(fires)):
        start = tile * TILE
        width = min(TILE, lines - start)
        for piece in range(pieces):
            place = (tile * pieces + piece) * TILE
            seen = U(0)
            for lane in range(width):
                word = columns[piece, start + lane]
                out[place + lane] = word
                seen = U(seen | word)
            for lane in range(width, TILE):
                out[place + lane] = U(0)
            fires[tile, piece] = seen != U(0)
    at = 0
    for tile in range(len(fires)):
        first[tile] = at
        for r in range(len(noted)):
            if noted[r] // TILE == tile:
                order[at] = r
                at += 1
    first[len(fires)] = at


@compiled
def fill_slots(columns, start, fired):  # type: ignore[no-untyped-def]
    """Do what `slots_of` says."""
    pieces, lines = columns.shape
    start[:] = 0
    active = np.empty(lines, np.int32)
    for piece in range(pieces):
        for line in range(lines):
            rest = U(columns[piece, line] & U(0x7FFFFFFF))
            while rest != 0:
                start[SLOTS * piece + S(trailing_zeros(rest)) + 1] += 1
                rest = U(rest & U(rest - U(1)))
    for k in range(SLOTS * pieces):
        start[k + 1] += start[k]
    place = start[:-1].copy()
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
