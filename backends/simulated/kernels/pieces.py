"""Pulse trains as the kernels take them: cut into pieces of one word, lines without pulses left out.

A *piece* is up to 31 slots of one sample; its word carries the line's sign in bit 31. Longer trains make several pieces
of a sample, one after the other, so that kernels need not know of samples.
"""

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from rpudriver.keyed.native import popcount
from rpudriver.types import PulseTrains

U = np.uint32
SLOTS = 31  # of a piece
SIGN = U(0x80000000)
TILE = 128  # columns that a kernel looks at together; their words for a batch stay in the fastest cache

Words = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Side:
    """The pieces of one side's lines, those alone that fire.

    Attributes
    ----------
    start : int32 ``[groups + 1]``; group g is the entries from ``start[g]`` to ``start[g + 1]``.
    index : int32, what each entry belongs to besides its group (the piece of a line, or the line of a piece).
    words : uint32, the slots and the sign of each entry.
    """

    start: Numbers
    index: Numbers
    words: Words


@dataclass(frozen=True)
class Cut:
    """Where the pieces of a batch lie: sample, word and shift of each, int32; `whole` where pieces are words as is."""

    sample: Numbers
    word: Numbers
    shift: Numbers
    whole: bool


def cut(trains: PulseTrains) -> Cut:
    """Return the pieces of a batch."""
    bl = trains.bl.numpy()
    sample, slot = _samples_and_slots(bl)
    whole = trains.x_words.shape[2] == 1 and len(sample) <= len(bl)
    return Cut(sample, slot // 32, slot % 32, whole)


def ends_of(trains: PulseTrains, after: npt.NDArray[np.int64]) -> Numbers:
    """Return how many pieces the first ``after[r]`` samples make."""
    made = np.concatenate([[0], np.cumsum(-(-trains.bl.numpy() // SLOTS))])
    return made[after].astype(np.int32)


def rows_of(trains: PulseTrains, where: Cut, flip: bool) -> Side:
    """Return the pieces of each row: groups are rows, `index` is the piece. `flip` reverses every sign."""
    words = trains.d_words.contiguous().numpy()
    negative = trains.d_negative.contiguous().numpy()
    return Side(*_pieces_of_rows(words, negative, *_parts(where), SIGN if flip else U(0)))


def columns_of(trains: PulseTrains, where: Cut) -> Side:
    """Return the columns of each piece: groups are pieces, `index` is the column."""
    words = trains.x_words.contiguous().numpy()
    return Side(*_columns_of_pieces(words, trains.x_negative.contiguous().numpy(), *_parts(where)))


def tiles_of(trains: PulseTrains, where: Cut) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Return the columns' words as ``[tiles, pieces, TILE]``, 0 where none fires, and whether any does in a tile."""
    words = trains.x_words.contiguous().numpy()
    return _tiled(words, trains.x_negative.contiguous().numpy(), *_parts(where))


def work_of(trains: PulseTrains, where: Cut, rows: Side) -> tuple[int, float]:
    """Return how many lines cross in pieces that both fire in, and roughly how many coincidences that makes."""
    words = trains.x_words.contiguous().numpy()
    pairs, events = _work(words, *_parts(where), rows.index, rows.words)
    return pairs, events


def _parts(where: Cut) -> tuple[Numbers, Numbers, Numbers, bool]:
    return where.sample, where.word, where.shift, where.whole


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _samples_and_slots(bl):  # type: ignore[no-untyped-def]
    total = 0
    for b in range(len(bl)):
        total += (bl[b] + SLOTS - 1) // SLOTS
    samples, slots = np.empty(total, np.int32), np.empty(total, np.int32)
    piece = 0
    for b in range(len(bl)):
        for slot in range(0, bl[b], SLOTS):
            samples[piece], slots[piece] = b, slot
            piece += 1
    return samples, slots


@nb.njit(inline="always", cache=True, error_model="numpy")
def _piece_of(words, b, line, word, shift, whole):  # type: ignore[no-untyped-def]
    """Return the 31 slots of a line from slot ``32 word + shift`` on."""
    if whole:
        return words[b, line, 0]
    both = np.uint64(words[b, line, word])
    if word + 1 < words.shape[2]:
        both |= np.uint64(words[b, line, word + 1]) << np.uint64(32)
    return U((both >> np.uint64(shift)) & np.uint64(0x7FFFFFFF))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pieces_of_rows(words, negative, samples, at, shifts, whole, flip):  # type: ignore[no-untyped-def]
    lines, pieces = words.shape[1], len(samples)
    start, index = np.zeros(lines + 1, np.int32), np.empty(lines * pieces + 1, np.int32)
    out = np.empty(lines * pieces + 1, np.uint32)
    used = 0
    for line in range(lines):
        for piece in range(pieces):  # without a branch: which lines fire cannot be foreseen
            b = samples[piece]
            word = _piece_of(words, b, line, at[piece], shifts[piece], whole)
            index[used] = piece
            out[used] = U(word | U(flip ^ U(U(negative[b, line]) * SIGN)))
            used += 1 if word != 0 else 0
        start[line + 1] = used
    return start, index[:used], out[:used]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _columns_of_pieces(words, negative, samples, at, shifts, whole):  # type: ignore[no-untyped-def]
    lines, pieces = words.shape[1], len(samples)
    start, index = np.zeros(pieces + 1, np.int32), np.empty(lines * pieces + 1, np.int32)
    out = np.empty(lines * pieces + 1, np.uint32)
    used = 0
    for piece in range(pieces):
        b = samples[piece]
        for line in range(lines):
            word = _piece_of(words, b, line, at[piece], shifts[piece], whole)
            index[used] = line
            out[used] = U(word | U(U(negative[b, line]) * SIGN))
            used += 1 if word != 0 else 0
        start[piece + 1] = used
    return start, index[:used], out[:used]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _tiled(words, negative, samples, at, shifts, whole):  # type: ignore[no-untyped-def]
    lines, pieces = words.shape[1], len(samples)
    tiles = (lines + TILE - 1) // TILE
    out = np.zeros((tiles, pieces, TILE), np.uint32)
    fires = np.zeros((tiles, pieces), np.bool_)
    for tile in range(tiles):
        first = tile * TILE
        for piece in range(pieces):
            b, seen = samples[piece], U(0)
            for lane in range(min(TILE, lines - first)):
                word = _piece_of(words, b, first + lane, at[piece], shifts[piece], whole)
                seen |= word
                out[tile, piece, lane] = U(word | U(U(negative[b, first + lane]) * SIGN)) if word != 0 else U(0)
            fires[tile, piece] = seen != 0
    return out, fires


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _work(words, samples, at, shifts, whole, index, d_words):  # type: ignore[no-untyped-def]
    pieces = len(samples)
    fired, slots = np.zeros(pieces, np.int64), np.zeros(pieces, np.int64)
    for piece in range(pieces):
        lines, ones = 0, 0
        for line in range(words.shape[1]):
            word = _piece_of(words, samples[piece], line, at[piece], shifts[piece], whole)
            lines += 1 if word != 0 else 0
            ones += popcount(word)
        fired[piece], slots[piece] = lines, ones
    pairs, events = 0, 0
    for entry in range(len(index)):
        pairs += fired[index[entry]]
        events += slots[index[entry]] * popcount(U(d_words[entry] & U(0x7FFFFFFF)))
    return pairs, events / SLOTS
