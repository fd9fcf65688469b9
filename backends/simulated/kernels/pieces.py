"""Pulse trains as the kernels take them: cut into pieces of one word, lines without pulses left out.

A *piece* is up to 31 slots of one sample; its word carries the line's sign in bit 31. Longer trains make several pieces
of a sample, one after the other, so that kernels need not know of samples.
"""

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt

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


def rows_of(trains: PulseTrains, flip: bool) -> Side:
    """Return the pieces of each row: groups are rows, `index` is the piece. `flip` reverses every sign."""
    parts = _pieces_of_rows(*_views(trains.d_words, trains.d_negative), *_cut(trains), SIGN if flip else U(0))
    return Side(*parts)


def columns_of(trains: PulseTrains) -> Side:
    """Return the columns of each piece: groups are pieces, `index` is the column."""
    return Side(*_columns_of_pieces(*_views(trains.x_words, trains.x_negative), *_cut(trains)))


def count(trains: PulseTrains) -> int:
    """Return the number of pieces."""
    return len(_cut(trains)[0])


def ends_of(trains: PulseTrains, after: npt.NDArray[np.int64]) -> Numbers:
    """Return how many pieces the first ``after[r]`` samples make."""
    made = np.concatenate([[0], np.cumsum(-(-trains.bl.numpy() // SLOTS))])
    return made[after].astype(np.int32)


def _views(words: Any, negative: Any) -> tuple[Words, npt.NDArray[np.bool_]]:
    return words.contiguous().numpy(), negative.contiguous().numpy()


def _cut(trains: PulseTrains) -> tuple[Numbers, Numbers]:
    """Return the sample and the first slot of each piece."""
    return _samples_and_slots(trains.bl.numpy())


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
def _piece_of(words, b, line, slot):  # type: ignore[no-untyped-def]
    """Return the 31 slots of a line from `slot` on."""
    word, shift = slot // 32, np.uint64(slot % 32)
    both = np.uint64(words[b, line, word])
    if word + 1 < words.shape[2]:
        both |= np.uint64(words[b, line, word + 1]) << np.uint64(32)
    return U((both >> shift) & np.uint64(0x7FFFFFFF))


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _pieces_of_rows(words, negative, samples, slots, flip):  # type: ignore[no-untyped-def]
    lines, pieces = words.shape[1], len(samples)
    start, index = np.zeros(lines + 1, np.int32), np.empty(lines * pieces, np.int32)
    out = np.empty(lines * pieces, np.uint32)
    used = 0
    for line in range(lines):
        for piece in range(pieces):
            word = _piece_of(words, samples[piece], line, slots[piece])
            if word != 0:
                index[used] = piece
                out[used] = U(word | U(flip ^ (SIGN if negative[samples[piece], line] else U(0))))
                used += 1
        start[line + 1] = used
    return start, index[:used], out[:used]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _columns_of_pieces(words, negative, samples, slots):  # type: ignore[no-untyped-def]
    lines, pieces = words.shape[1], len(samples)
    start, index = np.zeros(pieces + 1, np.int32), np.empty(lines * pieces, np.int32)
    out = np.empty(lines * pieces, np.uint32)
    used = 0
    for piece in range(pieces):
        for line in range(lines):
            word = _piece_of(words, samples[piece], line, slots[piece])
            if word != 0:
                index[used] = line
                out[used] = U(word | (SIGN if negative[samples[piece], line] else U(0)))
                used += 1
        start[piece + 1] = used
    return start, index[:used], out[:used]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def tiled(start, index, words, n_in):  # type: ignore[no-untyped-def]
    """Return the columns' words as ``[tiles, pieces, TILE]``, 0 where none fires, and whether any does in a tile."""
    tiles, pieces = (n_in + TILE - 1) // TILE, len(start) - 1
    out = np.zeros((tiles, pieces, TILE), np.uint32)
    fires = np.zeros((tiles, pieces), np.bool_)
    for piece in range(pieces):
        for entry in range(start[piece], start[piece + 1]):
            tile, lane = index[entry] // TILE, index[entry] % TILE
            out[tile, piece, lane] = words[entry]
            fires[tile, piece] = True
    return out, fires
