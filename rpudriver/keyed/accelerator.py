"""Whether the Triton kernels can be used for a tensor; safe to import where Triton is not installed."""

from functools import cache
from importlib.util import find_spec

import torch


@cache
def _installed() -> bool:
    return find_spec("triton") is not None and torch.version.cuda is not None


def available(tensor: torch.Tensor) -> bool:
    """Return whether a tensor lies on a CUDA device and Triton (the extra ``gpu``) is installed."""
    return tensor.is_cuda and _installed()
