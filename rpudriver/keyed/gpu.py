"""The keyed generator as Triton functions, which GPU kernels inline.

Bit for bit the same as `rpudriver.keyed.arrays`. Words are uint32 throughout: arithmetic wraps, shifts are logical.
Importing this module needs Triton; ask `rpudriver.keyed.accelerator.available` first. Launches must switch fused
multiply-add off (`OPTIONS`): the generator rounds every operation by itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from rpudriver.keyed import arrays

OPTIONS: dict[str, Any] = {"num_warps": 1, "enable_fp_fusion": False}  # one warp: reductions without barriers

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


def blocks(count: int, size: int) -> int:
    """Return how many blocks hold `count` things; Triton's own function takes microseconds."""
    return -(-count // size)


_compiled: dict[tuple[Any, ...], Any] = {}  # by kernel, device, what it was compiled for, and types


def launch(
    kernel: Any, grid: tuple[int, int, int], arguments: Sequence[Any], constants: tuple[Any, ...], warps: int = 1
) -> None:
    """Launch a kernel on the device of its first argument, a tensor.

    Triton looks at every argument of every launch to choose what to compile, which takes several times as long as the
    launch. So nothing here may depend on an argument's value but what is in `constants`: kernels switch off
    specialisation of their integers and of the alignment of their tensors.

    Parameters
    ----------
    arguments : in the order of the kernel.
    constants : the compile-time arguments that follow them.
    """
    first = arguments[0]
    where: torch.device = first.device
    key = (kernel, where, first.dtype, constants)
    known = _compiled.get(key)
    if known is not None and where.index == torch.cuda.current_device():
        known[grid](*arguments, *constants)
        return
    with torch.cuda.device_of(first):
        _compiled[key] = kernel[grid](*arguments, *constants, **(OPTIONS | {"num_warps": warps}))


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
