"""The keyed generator as Triton functions: what GPU kernels inline, and the drawing of trains on a GPU.

Bit for bit the same as `rpudriver.keyed.arrays`. Words are uint32 throughout: arithmetic wraps, shifts are logical.
Importing this module needs Triton; ask `rpudriver.keyed.accelerator.available` first. Launches must switch fused
multiply-add off (`OPTIONS`): the generator rounds every operation by itself.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl

from rpudriver.keyed import arrays
from rpudriver.keyed.native import word_count

OPTIONS: dict[str, Any] = {"num_warps": 1, "enable_fp_fusion": False}  # one warp: reductions without barriers
LINES = 64  # lines of one sample that a program draws

_MIX_1, _MIX_2 = tl.constexpr(arrays.MIX_1), tl.constexpr(arrays.MIX_2)
_WEYL_CELL, _WEYL_PULSE = tl.constexpr(arrays.WEYL_CELL), tl.constexpr(arrays.WEYL_PULSE)
_CHAIN_0, _CHAIN_1 = tl.constexpr(arrays.CHAIN_0), tl.constexpr(arrays.CHAIN_1)
_SECOND_WORD = tl.constexpr(arrays.SECOND_WORD)
_LINEAR, _CUBIC = tl.constexpr(float(arrays.GAUSS_LINEAR)), tl.constexpr(float(arrays.GAUSS_CUBIC))


def signed(word: int) -> int:
    """Return a 32-bit word as the int32 of the same bits, the form in which kernels take words."""
    return word - 2**32 if word >= 2**31 else word


def signed_key(seed: int, stream: str, step: int) -> tuple[int, int]:
    """Return the two key words of one step, each as an int32."""
    k0, k1 = arrays.key(seed, stream, step)
    return signed(int(k0)), signed(int(k1))


def halves(number: int) -> tuple[int, int]:
    """Return the low and the high word of a number of 64 bits, each as an int32.

    Kernels take large numbers so: Triton gives an integer argument the type that its value needs.
    """
    return signed(number & 0xFFFFFFFF), signed(number >> 32)


@triton.jit
def as_word(value):  # type: ignore[no-untyped-def]
    """Return an int32 as the uint32 of the same bits."""
    return value.to(tl.uint32, bitcast=True)


@triton.jit
def mix(z):  # type: ignore[no-untyped-def]
    """Return the finaliser's bijection of words."""
    z = (z ^ (z >> 16)) * _MIX_1
    z = (z ^ (z >> 15)) * _MIX_2
    return z ^ (z >> 16)


@triton.jit
def _absorb(h, word):  # type: ignore[no-untyped-def]
    return mix((h ^ word) + _WEYL_CELL)


@triton.jit
def _chain(start, seed_low, seed_high, stream, step):  # type: ignore[no-untyped-def]
    h = tl.zeros_like(seed_low) + start
    h = _absorb(_absorb(_absorb(h, seed_low), seed_high), stream)
    return _absorb(_absorb(h, step.to(tl.uint32)), (step >> 32).to(tl.uint32))


@triton.jit
def step_key(seed_low, seed_high, stream, first_low, first_high, vector):  # type: ignore[no-untyped-def]
    """Return the two key words of the step ``first + vector``; all are int32 scalars, see `halves` and `signed`."""
    step = (as_word(first_high).to(tl.int64) << 32) + as_word(first_low).to(tl.int64) + vector
    low, high, number = as_word(seed_low), as_word(seed_high), as_word(stream)
    return _chain(_CHAIN_0, low, high, number, step), _chain(_CHAIN_1, low, high, number, step)


@triton.jit
def draw(k0, k1, cell, pulse):  # type: ignore[no-untyped-def]
    """Return the uniform words of (key, cell, pulse), all uint32."""
    return mix((k0 + cell * _WEYL_CELL) ^ (k1 + pulse * _WEYL_PULSE))


@triton.jit
def popcount(z):  # type: ignore[no-untyped-def]
    """Return the number of set bits of each word, int32; the compiler makes it one instruction."""
    z = z - ((z >> 1) & 0x55555555)
    z = (z & 0x33333333) + ((z >> 2) & 0x33333333)
    z = (z + (z >> 4)) & 0x0F0F0F0F
    return ((z * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def gaussian_from_words(a):  # type: ignore[no-untyped-def]
    """Return the standard normal float32 numbers that belong to uniform words."""
    b = a * _SECOND_WORD
    b = b ^ (b >> 16)
    dither = (b >> 16).to(tl.int32) + (b & 0xFFFF).to(tl.int32) - 65535
    s = ((popcount(a) - 16) * 65536 + dither).to(tl.float32)
    return s * (_LINEAR + _CUBIC * (s * s))


@triton.jit
def gaussian(k0, k1, cell, pulse):  # type: ignore[no-untyped-def]
    """Return the standard normal float32 of each (key, cell, pulse)."""
    return gaussian_from_words(draw(k0, k1, cell, pulse))


@triton.jit
def _slots_below(k0, k1, line, word, limit, used):  # type: ignore[no-untyped-def]
    """Return words of slots whose numbers lie below `limit` (int64); digits are drawn until all are decided."""
    room = ((tl.full(line.shape, 1, tl.uint64) << used.to(tl.uint64)) - 1).to(tl.uint32)
    always = limit > 0xFFFFFFFF
    less = tl.where(always, room, 0)
    undecided = tl.where(always | (limit == 0), 0, room)
    digit = 0
    while (digit < 32) & (tl.max((undecided != 0).to(tl.int32)) > 0):
        drawn = draw(k0, k1, line, (32 * word + digit).to(tl.uint32))
        not_drawn = drawn ^ 0xFFFFFFFF
        one = ((limit >> (31 - digit)) & 1) != 0
        less = less | tl.where(one, undecided & not_drawn, 0)
        undecided = undecided & tl.where(one, drawn, not_drawn)
        digit += 1
    return less


# fmt: off
@triton.jit(do_not_specialize=["lines", "seed_low", "seed_high", "stream", "first_low", "first_high"])
def train_words_kernel(  # type: ignore[no-untyped-def]
    values, amplitude, bl, out, lines, seed_low, seed_high, stream, first_low, first_high,
    words: tl.constexpr, block: tl.constexpr,
):
    # fmt: on
    """Draw the trains of `block` lines of one sample; the sample is the first axis of the grid."""
    sample = tl.program_id(0)
    line = tl.program_id(1) * block + tl.arange(0, block)
    inside = line < lines
    k0, k1 = step_key(seed_low, seed_high, stream, first_low, first_high, sample)
    at = sample.to(tl.int64) * lines + line
    value = tl.load(values + at, mask=inside, other=0.0).to(tl.float64)
    probability = tl.minimum(tl.abs(value) * tl.load(amplitude + sample), 1.0)
    limit = (probability * 4294967296.0 + 0.5).to(tl.int64)
    for word in range(words):
        used = tl.minimum(tl.maximum(tl.load(bl + sample) - 32 * word, 0), 32)
        fires = _slots_below(k0, k1, line.to(tl.uint32), word, limit, used)
        tl.store(out + at * words + word, fires.to(tl.int32, bitcast=True), mask=inside)


def train_words(
    seed: int,
    stream: str,
    first: int,
    values: torch.Tensor,
    amplitude: npt.NDArray[np.float64],
    bl: npt.NDArray[np.int64],
) -> torch.Tensor:
    """Return bit-packed trains, uint32 ``[B, n, W]``, on the device of `values` ``[B, n]``.

    The same words as `rpudriver.keyed.native.train_words`; see there for the parameters.
    """
    samples, lines = values.shape
    out = torch.empty((samples, lines, word_count(bl)), dtype=torch.int32, device=values.device)
    if out.numel():
        with torch.cuda.device_of(values):
            train_words_kernel[samples, triton.cdiv(lines, LINES)](
                values.contiguous(),
                torch.from_numpy(amplitude).to(values.device),
                torch.from_numpy(bl).to(values.device),
                out,
                *(lines, *halves(seed), signed(arrays.stream_number(stream)), *halves(first)),
                words=out.shape[2],
                block=LINES,
                **OPTIONS,
            )
    return out.view(torch.uint32)
