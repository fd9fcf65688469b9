"""What the compiler made of a kernel: tests assert that hot loops use vector registers.

Vectorisation fails silently (a widened integer, an index of unknown sign, a branch between loads), and then costs a
factor of five to ten while every result stays right.
"""

import platform
import re
from typing import Any

import llvmlite.binding as llvm
import numba as nb
import pytest

VECTOR = r"\b{}\b.*%[yz]mm"  # an instruction on registers of 256 or 512 bits

needs_avx2 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or not llvm.get_host_cpu_features().get("avx2", False),
    reason="the assembly is read for x86-64 with AVX2",
)

needs_avx512 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or not llvm.get_host_cpu_features().get("avx512f", False),
    reason="the assembly is read for x86-64 with AVX-512",
)


def assembly(kernel: Any, signature: Any = None) -> str:
    """Return the assembly of a Numba function.

    It is compiled afresh, because a function that was loaded from the cache has no assembly.

    Parameters
    ----------
    kernel : Numba dispatcher.
    signature : types of its arguments; by default those that it has been called with, so call it first.
    """
    fresh = nb.njit(**{name: value for name, value in kernel.targetoptions.items() if name != "nopython"})(
        kernel.py_func
    )
    for wanted in [signature] if signature is not None else kernel.signatures:
        fresh.compile(wanted)
    found = "\n".join(fresh.inspect_asm().values())
    assert found, "the kernel has not been called yet"
    return found


def vector_instructions(text: str, instruction: str) -> int:
    """Return how often an instruction (a regular expression) appears on 256-bit or 512-bit registers.

    ``vpmulld`` multiplies 32-bit integers, which `rpudriver.keyed.native.mix` does twice; ``v(mul|add)ps`` are float32.
    """
    return len(re.findall(VECTOR.format(f"(?:{instruction})"), text))
