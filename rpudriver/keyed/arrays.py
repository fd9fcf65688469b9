"""The keyed generator in numpy: the specification in its shortest executable form.

All arithmetic is on 32-bit unsigned words and wraps, so that the same few lines run on a host, on a GPU and on a
microcontroller. See ``docs/keyed-generator.md`` for the text and the test vectors.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

MIX_1, MIX_2 = 0x7FEB352D, 0x846CA68B  # multipliers of the finaliser (C. Wellons, hash-prospector, public domain)
WEYL_CELL, WEYL_PULSE = 0x9E3779B9, 0x85EBCA6B  # odd, so that cells and pulses each run through all 2^32 values
CHAIN_0, CHAIN_1 = 0x243F6A88, 0x85A308D3  # leading bits of pi: starting points of the two key chains
SECOND_WORD = 0xC2B2AE3D  # odd multiplier that derives the dither of `gaussian` from its first word
GAUSS_LINEAR = np.float32(5.29709124289308e-06)  # with the cubic: variance 1 and kurtosis 3 exactly
GAUSS_CUBIC = np.float32(4.09902399e-19)
ALWAYS = 2**32  # the threshold of probability one


def stream_number(name: str) -> int:
    """Return the 32-bit number of a named stream (CRC-32 of the UTF-8 name)."""
    return zlib.crc32(name.encode())


def _word(value: Any) -> Words:
    return np.asarray(np.asarray(value, dtype=np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def mix(z: Words) -> Words:
    """Return the finaliser's bijection of 32-bit words, elementwise."""
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint32(16))) * np.uint32(MIX_1)
        z = (z ^ (z >> np.uint32(15))) * np.uint32(MIX_2)
    return z ^ (z >> np.uint32(16))


def key(seed: int, stream: str, step: Any) -> tuple[Words, Words]:
    """Return the two key words of each step.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    stream : str
        Name of what is drawn, for example ``"A/device/pulse"``.
    step : int or array of int
        Number of the sample or read, 0 <= step < 2**64.

    Returns
    -------
    tuple of uint32 arrays, both of the shape of `step`.
    """
    return key_of_number(seed, stream_number(stream), step)


def key_of_number(seed: int, number: int, step: Any) -> tuple[Words, Words]:
    """Return what `key` does, for a stream that is known by its number."""
    steps = np.asarray(step, dtype=np.uint64)
    words = [_word(seed & 0xFFFFFFFF), _word(seed >> 32), _word(number)]
    words += [_word(steps & np.uint64(0xFFFFFFFF)), _word(steps >> np.uint64(32))]
    keys = []
    for start in (CHAIN_0, CHAIN_1):
        h: Words = np.full(steps.shape, start, dtype=np.uint32)
        for word in words:
            with np.errstate(over="ignore"):
                h = mix(_word((h ^ word).astype(np.uint64) + WEYL_CELL))
        keys.append(h)
    return keys[0], keys[1]


def draw(keys: tuple[Words, Words], cell: Any, pulse: Any) -> Words:
    """Return one uniform 32-bit word for each (key, cell, pulse); the arguments broadcast."""
    with np.errstate(over="ignore"):
        line: Words = keys[0] + _word(cell) * np.uint32(WEYL_CELL)
        tick: Words = keys[1] + _word(pulse) * np.uint32(WEYL_PULSE)
    return mix(np.asarray(line ^ tick, dtype=np.uint32))


def gaussian_from_words(a: Words) -> Floats:
    """Return the standard normal numbers that belong to uniform words.

    The popcount of `a` is binomial; a triangular dither from a second word makes it continuous; the cubic makes
    variance and kurtosis those of the normal law. The distribution function is within 2e-4 of it, the largest
    value is 6.47.
    """
    with np.errstate(over="ignore"):
        b = a * np.uint32(SECOND_WORD)
    b = b ^ (b >> np.uint32(16))
    dither = (b >> np.uint32(16)).astype(np.int32) + (b & np.uint32(0xFFFF)).astype(np.int32) - 65535
    s = ((np.bitwise_count(a).astype(np.int32) - 16) * 65536 + dither).astype(np.float32)
    return s * (GAUSS_LINEAR + GAUSS_CUBIC * (s * s))


def gaussian(keys: tuple[Words, Words], cell: Any, pulse: Any) -> Floats:
    """Return one standard normal float32 for each (key, cell, pulse)."""
    return gaussian_from_words(draw(keys, cell, pulse))


def threshold(probability: Any) -> npt.NDArray[np.uint64]:
    """Return the integer threshold of a probability: an event happens where ``word < threshold``."""
    p = np.clip(np.asarray(probability, dtype=np.float64), 0.0, 1.0)
    return np.asarray(np.floor(p * 2.0**32 + 0.5)).astype(np.uint64)
