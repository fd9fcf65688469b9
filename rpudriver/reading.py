"""Noise and bound management around a read (Gokmen et al. 2018; Rasch et al. 2020)."""

from collections.abc import Sequence

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.types import Array, Read

Terms = Sequence[tuple[Array, float]]


def managed_read(
    backend: CrossbarBackend,
    terms: Terms,
    x: torch.Tensor,
    *,
    transposed: bool = False,
    noise_management: bool = True,
    max_halvings: int = 5,
) -> torch.Tensor:
    """Return ``sum_k weight_k W_k x`` for inputs of any size.

    Noise management divides each x by its largest absolute value and multiplies the result back; a zero vector is
    not sent, its result is zero. Bound management repeats the read of a vector with x halved, up to `max_halvings`
    times, while any of its outputs saturates.

    Parameters
    ----------
    x : float32 tensor ``[B, n]``
    noise_management : bool
        Without it, inputs beyond the chip's bound are refused by the backend.

    Returns
    -------
    float32 tensor ``[B, n_out]`` (``[B, n_in]`` transposed)
    """
    array = terms[0][0]
    lines = array.n_in if transposed else array.n_out
    scale = x.abs().amax(1, keepdim=True) if noise_management else torch.ones_like(x[:, :1])
    out = torch.zeros(len(x), lines, dtype=torch.float32, device=x.device)
    todo = (x != 0).any(1).nonzero()[:, 0] if noise_management else torch.arange(len(x), device=x.device)
    divisor = torch.where(scale > 0, scale / backend.capabilities.input_bound, 1.0) if noise_management else scale
    for halving in range(max_halvings + 1):
        if not len(todo):
            break
        factor = divisor[todo] * 2.0**halving
        read = backend.run([Read(tuple(terms), (x[todo] / factor).contiguous(), transposed)])[0]
        out[todo] = read.values * factor
        todo = todo[read.saturated.any(1)]
    return out
