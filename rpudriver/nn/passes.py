"""What surrounds a layer's reads, in one compiled pass on the CPU: bias input, scales, and whether all is finite."""

import numpy as np
import torch

from rpudriver.keyed import native


def extended(x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Return x ``[B, n]`` with a further column of ones, and whether x is free of NaN and infinities."""
    x = x.detach()
    if not x.is_cpu:
        return torch.cat((x, x.new_ones(x.shape[0], 1)), 1), bool(x.isfinite().all())
    out = np.empty((x.shape[0], x.shape[1] + 1), np.float32)
    finite = _extend(x.contiguous().numpy(), out)
    return torch.from_numpy(out), finite


def scaled_gradients(grad: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Return ``-grad / scale``, ``grad * scale``, and whether grad is free of NaN and infinities.

    Parameters
    ----------
    grad : float32 tensor ``[B, n]``
    scale : float32 tensor ``[1]`` or ``[n]``
    """
    grad = grad.detach()
    if not (grad.is_cpu and scale.is_cpu):
        return -grad / scale, grad * scale, bool(grad.isfinite().all())
    divided, multiplied = np.empty((2, *grad.shape), np.float32)
    finite = _scale(grad.contiguous().numpy(), scale.contiguous().numpy(), divided, multiplied)
    return torch.from_numpy(divided), torch.from_numpy(multiplied), finite


@native.compiled
def _all_finite(row):  # type: ignore[no-untyped-def]
    """Compare sizes by their bits, which order alike: a reduction of integers is vectorised, one of floats is not."""
    bits, worst = row.view(np.uint32), np.uint32(0)
    for n in range(len(bits)):
        worst = max(worst, np.uint32(bits[n] & np.uint32(0x7FFFFFFF)))
    return worst < np.uint32(0x7F800000)


@native.compiled
def _extend(x, out):  # type: ignore[no-untyped-def]
    finite = True
    for b in range(len(x)):
        finite &= _all_finite(x[b])
        out[b, :-1] = x[b]
        out[b, -1] = np.float32(1)
    return finite


@native.compiled
def _scale(grad, scale, divided, multiplied):  # type: ignore[no-untyped-def]
    finite = True
    by = np.empty(grad.shape[1], np.float32)
    by[:] = scale  # of one element or of as many as lines
    for b in range(len(grad)):
        finite &= _all_finite(grad[b])
        row, quotient, product = grad[b], divided[b], multiplied[b]
        for n in range(len(row)):
            quotient[n] = np.float32(-row[n] / by[n])
            product[n] = np.float32(row[n] * by[n])
    return finite
