"""The keyed generator compiled by Numba, one word at a time: what CPU kernels inline.

Bit for bit the same as `rpudriver.keyed.arrays`. Numba widens uint32 arithmetic to 64 bits, hence the many casts: they
keep every intermediate a 32-bit word, which also lets the compiler vectorise.
"""

from typing import Any

import numba as nb
import numpy as np
import numpy.typing as npt
from numba.core import types
from numba.extending import intrinsic

from rpudriver.keyed import arrays
from rpudriver.keyed.intrinsics import borrowed, prefer_wide_vectors

_U = np.uint32
_MIX_1, _MIX_2 = _U(arrays.MIX_1), _U(arrays.MIX_2)
_WEYL_CELL, _WEYL_PULSE = _U(arrays.WEYL_CELL), _U(arrays.WEYL_PULSE)
_CHAIN_0, _CHAIN_1 = _U(arrays.CHAIN_0), _U(arrays.CHAIN_1)
_SECOND_WORD = _U(arrays.SECOND_WORD)
_LINEAR, _CUBIC = arrays.GAUSS_LINEAR, arrays.GAUSS_CUBIC
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

_TOP = _U(1 << 31)
DIGITS = 4  # drawn at once for all lines of a sample
GROUP = 16  # lines that a vector holds
LINE, LIMIT, SURE, UNDECIDED, LESS = range(5)  # rows of what `_draw_word` works on, one column a line

inline = nb.njit(inline="always", cache=True, error_model="numpy")
compiled = nb.njit(cache=True, nogil=True, error_model="numpy")


@inline
def mix(z):  # type: ignore[no-untyped-def]
    """Return the finaliser's bijection of a word."""
    return mix_folded(fold(z))


@inline
def fold(z):  # type: ignore[no-untyped-def]
    """Return the first step of `mix`: the fold of ``a ^ b`` is the fold of a ^ the fold of b."""
    return _U(z ^ _U(z >> _U(16)))


@inline
def mix_folded(z):  # type: ignore[no-untyped-def]
    """Return what `mix` makes of a word after its first step."""
    z = _U(z * _MIX_1)
    z = _U(z ^ _U(z >> _U(15)))
    z = _U(z * _MIX_2)
    return _U(z ^ _U(z >> _U(16)))


@inline
def _absorb(h, word):  # type: ignore[no-untyped-def]
    return mix(_U(_U(h ^ word) + _WEYL_CELL))


@inline
def chain(start, seed, stream, step):  # type: ignore[no-untyped-def]
    """Return one key word; `seed` and `step` are uint64, `stream` is the stream's number, uint32."""
    h = _absorb(start, _U(seed & _LOW))
    h = _absorb(h, _U(seed >> _32))
    h = _absorb(h, stream)
    h = _absorb(h, _U(step & _LOW))
    return _absorb(h, _U(step >> _32))


@inline
def key_0(seed, stream, step):  # type: ignore[no-untyped-def]
    """Return the first key word of a step."""
    return chain(_CHAIN_0, seed, stream, step)


@inline
def key_1(seed, stream, step):  # type: ignore[no-untyped-def]
    """Return the second key word of a step."""
    return chain(_CHAIN_1, seed, stream, step)


@inline
def next_cell(line):  # type: ignore[no-untyped-def]
    """Return ``k0 + (cell + 1) * WEYL_CELL`` from ``k0 + cell * WEYL_CELL``: what a loop over neighbours carries."""
    return _U(line + _WEYL_CELL)


@inline
def draw(k0, k1, cell, pulse):  # type: ignore[no-untyped-def]
    """Return the uniform word of a (key, cell, pulse), all uint32."""
    line = _U(k0 + _U(cell * _WEYL_CELL))
    return mix(_U(line ^ _U(k1 + _U(pulse * _WEYL_PULSE))))


def _count_bits(typing_context: Any, z: Any) -> Any:
    """Return the number of set bits of a word, of the word's type: one instruction where the host has it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return (z(z), generate) if isinstance(z, types.Integer) else None


popcount: Any = intrinsic(_count_bits)


@inline
def gaussian_from_word(a):  # type: ignore[no-untyped-def]
    """Return the standard normal float32 that belongs to a uniform word."""
    b = _U(a * _SECOND_WORD)
    b = _U(b ^ _U(b >> _U(16)))
    dither = np.int32(_U(b >> _U(16))) + np.int32(_U(b & _U(0xFFFF))) - np.int32(65535)
    s = np.float32(np.int32((np.int32(popcount(a)) - np.int32(16)) * np.int32(65536) + dither))
    return np.float32(s * np.float32(_LINEAR + np.float32(_CUBIC * np.float32(s * s))))


@inline
def gaussian(k0, k1, cell, pulse):  # type: ignore[no-untyped-def]
    """Return the standard normal float32 of a (key, cell, pulse)."""
    return gaussian_from_word(draw(k0, k1, cell, pulse))


@compiled
def _gaussian_grid(seed, stream, first, out):  # type: ignore[no-untyped-def]
    prefer_wide_vectors()
    for b in range(out.shape[0]):
        step = np.uint64(first + np.uint64(b))
        line, tick = key_0(seed, stream, step), key_1(seed, stream, step)
        row = out[b]
        for n in range(len(row)):
            row[n] = gaussian_from_word(mix(_U(line ^ tick)))
            line = next_cell(line)


def gaussian_grid(seed: int, stream: str, first: int, samples: int, lines: int) -> npt.NDArray[np.float32]:
    """Return standard normal numbers ``[samples, lines]``: step ``first + b``, cell = line, pulse 0."""
    out = np.empty((samples, lines), np.float32)
    _gaussian_grid(np.uint64(seed), _U(arrays.stream_number(stream)), np.uint64(first), out)
    return out


@compiled
def _compare_digits(tick, digit, line, limit, undecided, less):  # type: ignore[no-untyped-def]
    """Compare four digits of every line's numbers with its threshold, from `digit` on, all lines in lock step.

    `tick` is ``k1 + pulse * WEYL_PULSE`` of the first of these digits, `line` is ``k0 + cell * WEYL_CELL``. There are
    whole groups of lines, so that none is left over to go alone.
    """
    prefer_wide_vectors()
    tick = _U(tick + _U(digit * _WEYL_PULSE))
    top = _U(_TOP >> digit)
    for n in range(len(line) // GROUP * GROUP):
        at, digits, left, below = line[n], limit[n], undecided[n], less[n]
        pulse = tick
        for i in range(DIGITS):
            drawn = mix(_U(at ^ pulse))
            one = _U(digits & _U(top >> _U(i))) != 0
            below = _U(below | _U(left & _U(~drawn))) if one else below
            left = _U(left & drawn) if one else _U(left & _U(~drawn))
            pulse = _U(pulse + _WEYL_PULSE)
        undecided[n], less[n] = left, below


@inline
def _whole(count):  # type: ignore[no-untyped-def]
    """Return how many lanes the groups have that hold `count`."""
    return (count + GROUP - 1) // GROUP * GROUP


@compiled
def _start_word(used, lanes, size):  # type: ignore[no-untyped-def]
    """Open all used slots of all lanes."""
    limit, sure, undecided, less = lanes[LIMIT], lanes[SURE], lanes[UNDECIDED], lanes[LESS]
    full = _U((np.uint64(1) << np.uint64(used)) - np.uint64(1))
    for n in range(size):
        undecided[n] = full if limit[n] != 0 else _U(0)
        less[n] = _U(full & sure[n])


@compiled
def _draw_word(k1, word, used, count, lanes, spare, index):  # type: ignore[no-untyped-def]
    """Draw one word of every lane; the few that the first digits leave undecided go on apart."""
    size = _whole(count)
    _start_word(used, lanes, size)
    line, limit = lanes[LINE][:size], lanes[LIMIT][:size]
    undecided, less = lanes[UNDECIDED][:size], lanes[LESS][:size]
    tick = _U(k1 + _U(_U(32 * word) * _WEYL_PULSE))
    together = 2 * DIGITS if used > 4 else DIGITS  # leaves one word of 31 slots in nine undecided, of 4 in five
    for digit in range(0, together, DIGITS):
        _compare_digits(tick, _U(digit), line, limit, undecided, less)
    left = 0
    for n in range(count):
        index[left] = n
        left += undecided[n] != 0
    for digit in range(together, 32, DIGITS):
        if left == 0:
            break
        size = _whole(left)
        for row in (LINE, LIMIT, UNDECIDED, LESS):
            for n in range(left):
                spare[row, n] = lanes[row, index[n]]
        spare[UNDECIDED, left:size] = _U(0)
        open_, below = spare[UNDECIDED][:size], spare[LESS][:size]
        _compare_digits(tick, _U(digit), spare[LINE][:size], spare[LIMIT][:size], open_, below)
        kept = 0
        for n in range(left):
            undecided[index[n]], less[index[n]] = open_[n], below[n]
            index[kept] = index[n]
            kept += open_[n] != 0
        left = kept


@inline
def _threshold(value, amplitude):  # type: ignore[no-untyped-def]
    return np.uint64(min(abs(np.float64(value)) * amplitude, 1.0) * 4294967296.0 + 0.5)


@compiled
def _all_lanes(k0, values, amplitude, lanes):  # type: ignore[no-untyped-def]
    """Give every line a lane, in order."""
    line = k0
    for n in range(len(values)):
        limit = _threshold(values[n], amplitude)
        lanes[LINE, n], lanes[LIMIT, n] = line, _U(limit & _LOW)
        lanes[SURE, n] = _U(0xFFFFFFFF) if limit > _LOW else _U(0)
        line = next_cell(line)


@compiled
def _some_lanes(k0, values, amplitude, lanes, cells):  # type: ignore[no-untyped-def]
    """Give a lane to every line that is not 0, and return their number; `cells` becomes the lines' numbers."""
    count = 0
    for n in range(len(values)):
        cells[count] = n
        count += values[n] != 0
    for n in range(count):
        limit = _threshold(values[cells[n]], amplitude)
        lanes[LINE, n], lanes[LIMIT, n] = _U(k0 + _U(_U(cells[n]) * _WEYL_CELL)), _U(limit & _LOW)
        lanes[SURE, n] = _U(0xFFFFFFFF) if limit > _LOW else _U(0)
    return count


@compiled
def desk(lines):  # type: ignore[no-untyped-def]
    """Return what `sample_words` works on for a side of up to so many lines."""
    size = _whole(lines)
    lanes, spare = np.empty((5, size), np.uint32), np.empty((5, size), np.uint32)
    return lanes, spare, np.empty(size, np.int32), np.empty(size, np.int32)


@compiled
def sample_words(seed, stream, step, values, active, amplitude, bl, out, work):  # type: ignore[no-untyped-def]
    """Fill the words ``[n, W]`` of one sample, of which `active` lines are not 0; `work` is a `desk`."""
    out[:] = _U(0)
    if bl == 0 or active == 0:
        return
    k0, k1 = key_0(seed, stream, step), key_1(seed, stream, step)
    lanes, spare, index, cells = borrowed(work[0]), borrowed(work[1]), borrowed(work[2]), borrowed(work[3])
    count, dense = len(values), 2 * active > len(values)
    if dense:
        _all_lanes(k0, values, amplitude, lanes)
    else:
        count = _some_lanes(k0, values, amplitude, lanes, cells)
    lanes[LIMIT, count : _whole(count)], lanes[SURE, count : _whole(count)] = _U(0), _U(0)
    less = lanes[LESS][:count]
    for word in range(out.shape[1]):
        used = min(max(bl - 32 * word, 0), 32)
        if used == 0:
            break
        _draw_word(k1, word, used, count, lanes, spare, index)
        if dense:
            for n in range(count):
                out[n, word] = less[n]
        else:
            for n in range(count):
                out[cells[n], word] = less[n]


@compiled
def _train_words(seed, stream, first, values, amplitude, bl, out):  # type: ignore[no-untyped-def]
    work = desk(values.shape[1])
    for b in range(len(bl)):
        active = np.count_nonzero(values[b])
        step = np.uint64(first + np.uint64(b))
        sample_words(seed, stream, step, values[b], active, amplitude[b], bl[b], out[b], work)


def word_count(bl: npt.NDArray[np.int64]) -> int:
    """Return the number of words that the longest of some trains takes, at least 1."""
    return max(1, -(-int(bl.max()) // 32)) if len(bl) else 1


def train_words(
    seed: int,
    stream: str,
    first: int,
    values: npt.NDArray[np.floating],
    amplitude: npt.NDArray[np.float64],
    bl: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint32]:
    """Return bit-packed trains ``[B, n, W]``: slot s of line j fires where its number is below the threshold.

    The threshold is that of the probability ``min(1, amplitude_b |values_bj|)``. The same slots as
    `rpudriver.keyed.tensors.bernoulli_words`; a word's digits are drawn by fours, only until all its slots are
    decided, and a line of 0 costs nothing.
    """
    out = np.empty((*values.shape, word_count(bl)), np.uint32)
    _train_words(np.uint64(seed), _U(arrays.stream_number(stream)), np.uint64(first), values, amplitude, bl, out)
    return out
