"""Kernels that are built for a family and a form of noise, each with a cache file of its own."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba as nb

from rpudriver.keyed import arrays, intrinsics, native


def compiled_as(name: str, kernel: Callable[..., Any], *others: ModuleType) -> Any:
    """Return a kernel that Numba compiles when it is first called and keeps on disk under a name.

    Variants of one function would share an index file, where two processes that compile different variants at the same
    time could each end up with the other's code. The name ends with a digest of all sources that kernels are made of:
    Numba looks at the kernel's own file alone, and would load old code after a change of what is inlined; `others` are
    modules whose code it calls besides.
    """
    kernel.__qualname__ = f"{name}_{_digest(*others)}"
    return nb.njit(cache=True, nogil=True, error_model="numpy")(kernel)


@cache
def _digest(*others: ModuleType) -> str:
    shared = [Path(str(module.__file__)) for module in (arrays, intrinsics, native, *others)]
    found = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), *shared]:
        found.update(path.read_bytes())
    return found.hexdigest()[:12]
