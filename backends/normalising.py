"""Noise management as arithmetic: vectors divided by their largest value before a read, and multiplied back after it.

`rpudriver.reading` does it around every read. It is here so that a chip which is software may do it within a read.
Tensors are named by their addresses, which they tell ten times faster than they make arrays.
"""

from typing import NamedTuple

import numpy as np
import torch

from rpudriver.keyed import native
from rpudriver.keyed.intrinsics import float_of_bits, load_float, load_word, store_float


class Normalised(NamedTuple):
    """What a read of normalised vectors brought up.

    Attributes
    ----------
    values : float32 tensor ``[B, n]``, multiplied back.
    saturated : bool tensor ``[B, n]``, or None where nothing is.
    """

    values: torch.Tensor
    saturated: torch.Tensor | None


@native.compiled
def divide_vector(x_at, start, lines, bound, out_at, out_start):  # type: ignore[no-untyped-def]
    """Divide a vector by its largest size over the bound, and return the divisor.

    Sizes are compared as integers, which order alike and put NaN last.
    """
    worst, bound = np.uint32(0), np.float32(bound)
    for n in range(start, start + lines):
        worst = max(worst, np.uint32(load_word(x_at, n) & np.uint32(0x7FFFFFFF)))
    by = np.float32(float_of_bits(np.int32(worst)) / bound)
    for n in range(lines):  # the quotient may be rounded to just above the bound
        quotient = np.float32(load_float(x_at, start + n) / by)
        store_float(out_at, out_start + n, min(max(quotient, -bound), bound))
    return by


@native.compiled
def divide(x_at, vectors, lines, bound, divisor_at, out_at):  # type: ignore[no-untyped-def]
    """Divide each vector by its largest size over the bound; return whether one is zero."""
    zeros = False
    for b in range(vectors):
        by = divide_vector(x_at, b * lines, lines, bound, out_at, b * lines)
        store_float(divisor_at, b, by)
        zeros |= by == np.float32(0)
    return zeros


@native.compiled
def multiply(values_at, vectors, lines, divisor_at, out_at):  # type: ignore[no-untyped-def]
    """Multiply each vector by its divisor."""
    for b in range(vectors):
        by = load_float(divisor_at, b)
        for n in range(b * lines, (b + 1) * lines):
            store_float(out_at, n, np.float32(load_float(values_at, n) * by))
