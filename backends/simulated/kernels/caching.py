"""Kernels that are built for a family and a form of noise, each with a cache file of its own."""

from collections.abc import Callable
from typing import Any

import numba as nb


def compiled_as(name: str, kernel: Callable[..., None]) -> Any:
    """Return a kernel that Numba compiles when it is first called and keeps on disk under a name.

    Variants of one function would share an index file, where two processes that compile different variants at the same
    time could each end up with the other's code.
    """
    kernel.__qualname__ = name
    return nb.njit(cache=True, nogil=True, error_model="numpy")(kernel)
