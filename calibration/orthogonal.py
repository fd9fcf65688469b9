"""Reads of a whole array with orthogonal inputs of +-a: every vector tells of every weight.

A pass is the Sylvester-Hadamard matrix of at least n_in lines, its columns flipped by random signs, and then the same
inputs with the opposite sign. Half the difference of such a pair is ``W x`` without the offset of the output, half
the sum is the offset: together they are a design of order ``2n`` (Plackett & Burman 1946). After N vectors

    w_ij = 1 / N  sum_r s_rj y_ri / a_ri,    standard error = noise_i sqrt(sum_r a_ri^-2) / N

where the noise of an output is seen in the sums, whatever the weights are.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.writing import hadamard
from rpudriver.calibration.procedure import usable
from rpudriver.keyed import arrays as keyed
from rpudriver.reading import Terms
from rpudriver.types import Array, Read

CHUNK = 4096  # vectors in one read
HALVINGS = 6  # an output that still saturates at 1/64 of the input is not the weights' doing
HEADROOM = 4.0  # standard deviations of an output below the bound: 6e-5 of the outputs saturate


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """Weights as they were read.

    Attributes
    ----------
    weights : float64 tensor ``[n_out, n_in]``, chip units; NaN in rows whose output saturates whatever the input is.
    factor : float64 tensor ``[n_out]``, standard error of a weight over the noise of one output.
    noise, offset : float64 tensors ``[n_out]``, standard deviation of one output, and its mean without input.
    reread : pairs that had to be read again with smaller inputs because an output saturated.
    vectors : all that were read.
    """

    weights: torch.Tensor
    factor: torch.Tensor
    noise: torch.Tensor
    offset: torch.Tensor
    reread: int
    vectors: int


def pass_length(array: Array) -> int:
    """Return the vectors of one pass: twice the power of two that is at least n_in."""
    return int(2 << (array.n_in - 1).bit_length())


def amplitude_for(backend: CrossbarBackend, norm: float) -> float:
    """Return the largest input, on a level of the converter, at which rows of a Euclidean norm do not saturate."""
    bound, (_, largest) = backend.capabilities.output_bound, backend.allowed
    wanted = largest if bound is None or norm <= 0 else min(largest, bound / (HEADROOM * norm))
    return _level(backend.capabilities, wanted)


def read_orthogonal(
    backend: CrossbarBackend, array: Array, passes: int, amplitude: float, seed: int, step: int
) -> Reading:
    """Read all weights.

    Parameters
    ----------
    passes : how often the design is gone through, each time with other signs.
    amplitude : size of the inputs; pairs in which an output saturates are read again at half of it, and so on.
    seed, step : of the signs, which are drawn from the stream ``"orthogonal/signs"``.

    Raises
    ------
    CalibrationError
        If the chip returns NaN.
    """
    return read_orthogonal_sum(backend, ((array, 1.0),), passes, amplitude, seed, step)


def read_orthogonal_sum(
    backend: CrossbarBackend, terms: Terms, passes: int, amplitude: float, seed: int, step: int
) -> Reading:
    """Read all weights of a sum ``sum_k weight_k W_k`` as `read_orthogonal` reads those of one array."""
    array = terms[0][0]
    half = pass_length(array) // 2
    matrix = hadamard(half)[:, : array.n_in]
    signs = _signs(array.n_in, passes, seed, step)
    total = torch.zeros(array.shape, dtype=torch.float64)
    squares, sums, sums2 = (torch.zeros(array.n_out, dtype=torch.float64) for _ in range(3))
    reread, at_once = 0, max(1, CHUNK // (2 * half))
    for start in range(0, passes, at_once):
        x = (matrix * signs[start : start + at_once, None]).flatten(0, 1)
        plus, minus, inverse, again = _read_pairs(backend, terms, x, amplitude)
        total += ((plus - minus) * inverse).float().t() @ x  # a chunk in single precision, the chunks in double
        squares += 2 * inverse.square().sum(0)
        sums += (plus + minus).sum(0) / 2
        sums2 += ((plus + minus) / 2).square().sum(0)
        reread += again
    pairs = passes * half
    mean = sums / pairs
    variance = 2 * (sums2 / pairs - mean.square()).clamp_min(0) * pairs / max(1, pairs - 1)
    weights, factor = total / (2 * pairs), squares.sqrt() / (2 * pairs)
    return Reading(weights, factor, variance.sqrt(), mean, reread, 2 * (pairs + reread))


def _read_pairs(
    backend: CrossbarBackend, terms: Terms, x: torch.Tensor, amplitude: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Return the outputs for inputs of +-x ``[P, n_out]``, the inverse of the input's size, and pairs read again.

    Where an output cannot be kept from saturating, the inverse is NaN.
    """
    (plus, minus), wrong = _read_both(backend, terms, x * amplitude)
    inverse = torch.full(plus.shape, 1 / amplitude, dtype=torch.float64)
    size, reread = amplitude, 0
    for _ in range(HALVINGS):
        pairs = wrong.any(1).nonzero()[:, 0]
        smaller = _level(backend.capabilities, size / 2)
        if not len(pairs) or smaller >= size:
            break
        size, reread = smaller, reread + len(pairs)
        (plus2, minus2), wrong2 = _read_both(backend, terms, x[pairs] * size)
        old = wrong[pairs]
        plus[pairs], minus[pairs] = torch.where(old, plus2, plus[pairs]), torch.where(old, minus2, minus[pairs])
        inverse[pairs] = torch.where(old, 1 / size, inverse[pairs])
        wrong[pairs] = old & wrong2
    return plus, minus, torch.where(wrong, torch.nan, inverse), reread


def _read_both(
    backend: CrossbarBackend, terms: Terms, x: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    result = backend.run([Read(tuple(terms), torch.cat([x, -x]))])[0]
    plus, minus = usable(result.values, f"reads of array {terms[0][0].name!r}").double().chunk(2)
    saturated = result.saturated.cpu()
    return (plus, minus), saturated[: len(x)] | saturated[len(x) :]


def _signs(lines: int, passes: int, seed: int, step: int) -> torch.Tensor:
    """Return +-1 for each pass and line."""
    words = keyed.draw(keyed.key(seed, "orthogonal/signs", step), np.arange(lines), np.arange(passes)[:, None])
    return torch.from_numpy(1.0 - 2.0 * (words >> np.uint32(31)).astype(np.float32))


def _level(chip: Capabilities, size: float) -> float:
    """Return the nearest level of the input converter that is not above `size`, so that inputs are not rounded."""
    if chip.input_bits is None:
        return size
    levels = int(2 ** (chip.input_bits - 1) - 1)
    return chip.input_bound * max(1, math.floor(size / chip.input_bound * levels * (1 + 1e-9))) / levels
