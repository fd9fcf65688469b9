"""The keyed generator in torch, on any device: bit for bit the same words as `rpudriver.keyed.arrays`.

torch has no unsigned shifts, so words are carried as int32: multiplication wraps alike, a logical shift is an
arithmetic one with the sign's copies masked away.
"""

import numpy as np
import torch

from rpudriver.keyed import arrays
from rpudriver.keyed.arrays import GAUSS_CUBIC, GAUSS_LINEAR, MIX_1, MIX_2, SECOND_WORD, WEYL_CELL, WEYL_PULSE

Keys = tuple[torch.Tensor, torch.Tensor]


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word


def _shift(z: torch.Tensor, bits: int) -> torch.Tensor:
    return (z >> bits) & ((1 << (32 - bits)) - 1)


def mix(z: torch.Tensor) -> torch.Tensor:
    """Return the finaliser's bijection of words (int32), elementwise."""
    z = (z ^ _shift(z, 16)) * _signed(MIX_1)
    z = (z ^ _shift(z, 15)) * _signed(MIX_2)
    return z ^ _shift(z, 16)


def key(seed: int, stream: str, step: int, count: int, device: torch.device | None = None) -> Keys:
    """Return the key words, int32 tensors ``[count]``, of the steps ``step .. step + count - 1``."""
    k0, k1 = arrays.key(seed, stream, np.arange(step, step + count, dtype=np.uint64))
    return torch.from_numpy(k0.view(np.int32)).to(device), torch.from_numpy(k1.view(np.int32)).to(device)


def draw(keys: Keys, cell: torch.Tensor, pulse: torch.Tensor) -> torch.Tensor:
    """Return one uniform word (int32 bits) for each (key, cell, pulse); int32 arguments, which broadcast."""
    return mix((keys[0] + cell * _signed(WEYL_CELL)) ^ (keys[1] + pulse * _signed(WEYL_PULSE)))


def popcount(z: torch.Tensor) -> torch.Tensor:
    """Return the number of set bits of each int32 word."""
    z = z - ((z >> 1) & 0x55555555)
    z = (z & 0x33333333) + ((z >> 2) & 0x33333333)
    z = (z + (z >> 4)) & 0x0F0F0F0F
    return (z * 0x01010101) >> 24 & 0xFF


def gaussian_from_words(a: torch.Tensor) -> torch.Tensor:
    """Return the standard normal float32 numbers that belong to uniform words (int32 bits)."""
    b = a * _signed(SECOND_WORD)
    b = b ^ _shift(b, 16)
    dither = _shift(b, 16) + (b & 0xFFFF) - 65535
    s = ((popcount(a) - 16) * 65536 + dither).to(torch.float32)
    return s * (float(GAUSS_LINEAR) + float(GAUSS_CUBIC) * (s * s))


def gaussian(keys: Keys, cell: torch.Tensor, pulse: torch.Tensor) -> torch.Tensor:
    """Return one standard normal float32 for each (key, cell, pulse)."""
    return gaussian_from_words(draw(keys, cell, pulse))


def bernoulli_words(words: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Return packed slots that fire with probability ``threshold / 2**32``.

    Slot s reads its 32-bit uniform number vertically: bit ``31 - i`` of the number is bit s of word i. 32 words
    so serve 32 slots, and the comparison ``number < threshold`` is made for all of them at once with AND and OR.

    Parameters
    ----------
    words : int32 tensor ``[..., 32]``
        Uniform words; the last axis is the digit, most significant first.
    threshold : int64 tensor ``[...]``
        0 .. 2**32.

    Returns
    -------
    int32 tensor ``[...]``, bit s set where slot s fires.
    """
    digits = torch.arange(31, -1, -1, device=words.device)
    mask = -((threshold.unsqueeze(-1) >> digits) & 1).to(torch.int32)
    less, equal = ~words & mask, ~(words ^ mask)
    while less.shape[-1] > 1:  # a tree over neighbouring digits: the upper decides, where it ties the lower does
        less = less[..., 0::2] | (equal[..., 0::2] & less[..., 1::2])
        equal = equal[..., 0::2] & equal[..., 1::2]
    return torch.where(threshold > 0xFFFFFFFF, torch.full_like(less[..., 0], -1), less[..., 0])
