"""What surrounds a layer's reads, in one compiled pass on the CPU: bias input, scales, gradients, and what is finite.

Tensors are named by their addresses, which they tell ten times faster than they make arrays.
"""

from typing import NamedTuple

import numpy as np
import torch

from rpudriver.keyed import native
from rpudriver.keyed.intrinsics import load_float, load_word, store_float
from rpudriver.types import plain

F = np.float32
BLOCK = 16  # samples that are added up before their sum joins the others, as in torch


def extended(x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Return x ``[B, n]`` with a further column of ones, and whether x is free of NaN and infinities."""
    x = x.detach()
    if not x.is_cpu:
        return torch.cat((x, x.new_ones(x.shape[0], 1)), 1), bool(x.isfinite().all())
    x, (vectors, lines) = plain(x), x.shape
    out = torch.empty(vectors, lines + 1)
    return out, _extend(x.data_ptr(), vectors, lines, out.data_ptr())


def outputs(
    read: torch.Tensor, scale: torch.Tensor, gain: torch.Tensor | None, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``read * scale * gain + bias`` and ``read * scale``, float32 ``[B, n]``; the same tensor without a gain.

    Parameters
    ----------
    scale, gain : float32 tensors ``[1]`` or ``[n]``.
    bias : float32 tensor ``[n]``.
    """
    if not read.is_cpu:
        scaled = read * scale
        out = scaled if gain is None else scaled * gain
        return out if bias is None else out + bias, scaled
    read, (vectors, lines) = plain(read), read.shape
    out = torch.empty_like(read)
    scaled = out if gain is None else torch.empty_like(read)
    places = (*_row_at(scale), *_row_at(gain), *_row_at(bias))
    _scale(read.data_ptr(), vectors, lines, *places, scaled.data_ptr(), out.data_ptr())
    return out, scaled


class Gradients(NamedTuple):
    """What a layer makes of the gradient g at its outputs, where ``h = g * gain``.

    Attributes
    ----------
    d : ``-h / scale``, float32 ``[B, n]``, what the weights are trained with.
    back : ``h * scale``, what the backward pass reads with.
    finite : whether g is free of NaN and infinities.
    gain, bias : gradients of both, or None where they are not wanted.
    """

    d: torch.Tensor
    back: torch.Tensor
    finite: bool
    gain: torch.Tensor | None
    bias: torch.Tensor | None


def gradients(
    grad: torch.Tensor,
    scale: torch.Tensor,
    gain: torch.Tensor | None,
    scaled: torch.Tensor | None,
    wants_bias: bool,
) -> Gradients:
    """Return the gradients of `outputs`; that of the gain needs what `outputs` returned as `scaled`.

    Parameters
    ----------
    grad : float32 tensor ``[B, n]``
    """
    if not (grad.is_cpu and scale.is_cpu):
        h = grad if gain is None else grad * gain
        of_gain = None if scaled is None or gain is None else (grad * scaled).sum_to_size(gain.shape)
        finite = bool(grad.isfinite().all())
        return Gradients(-h / scale, h * scale, finite, of_gain, grad.sum(0) if wants_bias else None)
    grad, (vectors, lines) = plain(grad), grad.shape
    d, back = torch.empty_like(grad), torch.empty_like(grad)
    of_bias, of_gain = torch.empty(lines) if wants_bias else None, None if scaled is None else torch.empty(lines)
    places = (*_row_at(scale), *_row_at(gain), d.data_ptr(), back.data_ptr())
    sums = _at(of_bias), _at(scaled), _at(of_gain)
    finite = _gradients(grad.data_ptr(), vectors, lines, *places, *sums)
    if of_gain is not None and gain is not None and gain.shape[0] != lines:
        of_gain = of_gain.sum().reshape(1)
    return Gradients(d, back, finite, of_gain, of_bias)


def product(d: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return ``d @ matrix``, float32 ``[B, n]`` on the device of d; on the CPU the lines are added one after another.

    A fixed order of adding, unlike torch's, is the same for every batch size and number of threads.

    Parameters
    ----------
    d : float32 tensor ``[B, m]``
    matrix : float32 tensor ``[m, n]`` on the CPU.
    """
    if not d.is_cpu:
        return d @ matrix.to(d.device)
    d, (vectors, lines) = plain(d), d.shape
    out = torch.empty(vectors, matrix.shape[1])
    _multiply(d.data_ptr(), vectors, lines, matrix.data_ptr(), matrix.shape[1], out.data_ptr())
    return out


def _row_at(values: torch.Tensor | None) -> tuple[int, int]:
    """Return where factors lie and how many; ``(0, 0)`` for none. They are a layer's own, so they are contiguous."""
    return (0, 0) if values is None else (values.data_ptr(), values.shape[0])


def _at(values: torch.Tensor | None) -> int:
    """Return where values lie, 0 for none."""
    return 0 if values is None else values.data_ptr()


@native.compiled
def _row(address, count, lines, none):  # type: ignore[no-untyped-def]
    """Return one value for each line, from one, from as many, or `none`."""
    row = np.full(lines, none)
    for n in range(lines if count else 0):
        row[n] = load_float(address, n if count > 1 else 0)
    return row


@native.compiled
def _all_finite(address, start, stop):  # type: ignore[no-untyped-def]
    """Compare sizes by their bits, which order alike: a reduction of integers is vectorised, one of floats is not."""
    worst = np.uint32(0)
    for n in range(start, stop):
        worst = max(worst, np.uint32(load_word(address, n) & np.uint32(0x7FFFFFFF)))
    return worst < np.uint32(0x7F800000)


@native.compiled
def _extend(x_at, vectors, lines, out_at):  # type: ignore[no-untyped-def]
    for b in range(vectors):
        start = b * (lines + 1)
        for n in range(lines):
            store_float(out_at, start + n, load_float(x_at, b * lines + n))
        store_float(out_at, start + lines, F(1))
    return _all_finite(x_at, 0, vectors * lines)


@native.compiled
def _scale(read_at, vectors, lines, scale_at, scales, gain_at, gains, bias_at, biases, scaled_at, out_at):  # type: ignore[no-untyped-def]
    """Multiply twice and add; 1 and -0 change nothing, where there is no gain or bias."""
    scale, gain = _row(scale_at, scales, lines, F(1)), _row(gain_at, gains, lines, F(1))
    bias = _row(bias_at, biases, lines, F(-0.0))
    for b in range(vectors):
        start = b * lines
        for n in range(lines):
            scaled = F(load_float(read_at, start + n) * scale[n])
            store_float(scaled_at, start + n, scaled)
            store_float(out_at, start + n, F(F(scaled * gain[n]) + bias[n]))


@native.compiled
def _both_ways(grad_at, vectors, lines, scale_at, scales, gain_at, gains, d_at, back_at):  # type: ignore[no-untyped-def]
    scale, gain = _row(scale_at, scales, lines, F(1)), _row(gain_at, gains, lines, F(1))
    for b in range(vectors):
        start = b * lines
        for n in range(lines):
            h = F(load_float(grad_at, start + n) * gain[n])
            store_float(d_at, start + n, F(-h / scale[n]))
            store_float(back_at, start + n, F(h * scale[n]))
    return _all_finite(grad_at, 0, vectors * lines)


@native.compiled
def _gradients(  # type: ignore[no-untyped-def]
    grad_at, vectors, lines, scale_at, scales, gain_at, gains, d_at, back_at, bias_sum_at, scaled_at, gain_sum_at
):
    """Do what `gradients` says, sums where they are wanted; return whether g is finite."""
    if bias_sum_at:
        _sum(grad_at, vectors, lines, bias_sum_at)
    if gain_sum_at:
        _sum_of_products(grad_at, vectors, lines, scaled_at, gain_sum_at)
    return _both_ways(grad_at, vectors, lines, scale_at, scales, gain_at, gains, d_at, back_at)


@native.compiled
def _multiply(d_at, vectors, lines, matrix_at, outputs, out_at):  # type: ignore[no-untyped-def]
    for b in range(vectors):
        total = np.zeros(outputs, np.float32)
        for m in range(lines):
            factor = load_float(d_at, b * lines + m)
            for n in range(outputs):
                total[n] = F(total[n] + F(factor * load_float(matrix_at, m * outputs + n)))
        for n in range(outputs):
            store_float(out_at, b * outputs + n, total[n])


@native.compiled
def _sum(values_at, vectors, lines, out_at):  # type: ignore[no-untyped-def]
    """Add vectors up, block by block."""
    total, part = np.zeros(lines, np.float32), np.zeros(lines, np.float32)
    for b in range(vectors):
        for n in range(lines):
            part[n] = F(part[n] + load_float(values_at, b * lines + n))
        if b % BLOCK == BLOCK - 1:
            _join(total, part)
    for n in range(lines):
        store_float(out_at, n, F(part[n] + total[n]))


@native.compiled
def _sum_of_products(values_at, vectors, lines, factors_at, out_at):  # type: ignore[no-untyped-def]
    """Multiply vectors and add them up, block by block."""
    total, part = np.zeros(lines, np.float32), np.zeros(lines, np.float32)
    for b in range(vectors):
        for n in range(b * lines, (b + 1) * lines):
            product = F(load_float(values_at, n) * load_float(factors_at, n))
            part[n - b * lines] = F(part[n - b * lines] + product)
        if b % BLOCK == BLOCK - 1:
            _join(total, part)
    for n in range(lines):
        store_float(out_at, n, F(part[n] + total[n]))


@native.compiled
def _join(total, part):  # type: ignore[no-untyped-def]
    for n in range(len(total)):
        total[n] = F(total[n] + part[n])
        part[n] = F(0)
