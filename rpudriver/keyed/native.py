"""The keyed generator compiled by Numba, one word at a time: what CPU kernels inline.

Bit for bit the same as `rpudriver.keyed.arrays`. Numba widens uint32 arithmetic to 64 bits, hence the many casts: they
keep every intermediate a 32-bit word, which also lets the compiler vectorise.
"""

import numba as nb
import numpy as np
import numpy.typing as npt

from rpudriver.keyed import arrays

_U = np.uint32
_MIX_1, _MIX_2 = _U(arrays.MIX_1), _U(arrays.MIX_2)
_WEYL_CELL, _WEYL_PULSE = _U(arrays.WEYL_CELL), _U(arrays.WEYL_PULSE)
_CHAIN_0, _CHAIN_1 = _U(arrays.CHAIN_0), _U(arrays.CHAIN_1)
_SECOND_WORD = _U(arrays.SECOND_WORD)
_LINEAR, _CUBIC = arrays.GAUSS_LINEAR, arrays.GAUSS_CUBIC
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)

inline = nb.njit(inline="always", cache=True, error_model="numpy")


@inline
def mix(z):  # type: ignore[no-untyped-def]
    """Return the finaliser's bijection of a word."""
    z = _U(z ^ _U(z >> _U(16)))
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
def draw(k0, k1, cell, pulse):  # type: ignore[no-untyped-def]
    """Return the uniform word of a (key, cell, pulse), all uint32."""
    line = _U(k0 + _U(cell * _WEYL_CELL))
    return mix(_U(line ^ _U(k1 + _U(pulse * _WEYL_PULSE))))


@inline
def popcount(z):  # type: ignore[no-untyped-def]
    """Return the number of set bits of a word, uint32."""
    z = _U(z - _U(_U(z >> _U(1)) & _U(0x55555555)))
    z = _U(_U(z & _U(0x33333333)) + _U(_U(z >> _U(2)) & _U(0x33333333)))
    z = _U(_U(z + _U(z >> _U(4))) & _U(0x0F0F0F0F))
    return _U(_U(z * _U(0x01010101)) >> _U(24))


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


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gaussian_grid(seed, stream, first, out):  # type: ignore[no-untyped-def]
    for b in range(out.shape[0]):
        step = np.uint64(first + np.uint64(b))
        k0, k1 = key_0(seed, stream, step), key_1(seed, stream, step)
        for line in range(out.shape[1]):
            out[b, line] = gaussian(k0, k1, _U(line), _U(0))


def gaussian_grid(seed: int, stream: str, first: int, samples: int, lines: int) -> npt.NDArray[np.float32]:
    """Return standard normal numbers ``[samples, lines]``: step ``first + b``, cell = line, pulse 0."""
    out = np.empty((samples, lines), np.float32)
    _gaussian_grid(np.uint64(seed), _U(arrays.stream_number(stream)), np.uint64(first), out)
    return out


@inline
def _slots_below(k0, k1, line, word, limit, used):  # type: ignore[no-untyped-def]
    """Return a word of slots whose numbers lie below the threshold `limit`; digits are drawn until all are decided."""
    undecided = _U((np.uint64(1) << np.uint64(used)) - np.uint64(1))
    if limit > _LOW:
        return undecided
    less = _U(0)
    digit = 0
    while undecided != 0 and digit < 32 and limit > 0:
        drawn = draw(k0, k1, line, _U(32 * word + digit))
        if (limit >> np.uint64(31 - digit)) & np.uint64(1):
            less = _U(less | _U(undecided & _U(~drawn)))
            undecided = _U(undecided & drawn)
        else:
            undecided = _U(undecided & _U(~drawn))
        digit += 1
    return less


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _train_words(seed, stream, first, values, amplitude, bl, out):  # type: ignore[no-untyped-def]
    samples, lines, words = out.shape
    for b in range(samples):
        step = np.uint64(first + np.uint64(b))
        k0, k1 = key_0(seed, stream, step), key_1(seed, stream, step)
        for line in range(lines):
            probability = min(abs(np.float64(values[b, line])) * amplitude[b], 1.0)
            limit = np.uint64(np.floor(probability * 4294967296.0 + 0.5))
            for word in range(words):
                used = min(max(bl[b] - 32 * word, 0), 32)
                out[b, line, word] = _slots_below(k0, k1, _U(line), word, limit, used)


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
    `rpudriver.keyed.tensors.bernoulli_words`; a word's digits are drawn only until all its slots are decided, about
    seven on average.
    """
    out = np.empty((*values.shape, word_count(bl)), np.uint32)
    _train_words(np.uint64(seed), _U(arrays.stream_number(stream)), np.uint64(first), values, amplitude, bl, out)
    return out
