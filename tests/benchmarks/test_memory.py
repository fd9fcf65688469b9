"""The peak memory of a row is that of the program measured, whatever started it."""

from pathlib import Path

import pytest
import torch

from benchmarks.memory import peak_memory_mib


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, which tells a program's own peak")
def test_the_peak_is_not_that_of_a_large_parent() -> None:
    large = torch.ones(2**28)  # 1 GiB, all of it resident
    peak = peak_memory_mib(64, 1)
    assert 50 < peak < 1000
    assert large[-1] == 1.0
