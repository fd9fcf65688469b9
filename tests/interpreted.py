"""Triton kernels in a test: on a GPU where there is one, else through Triton's interpreter on the CPU.

The choice is made when Triton is imported, so a test module calls `triton_device` before it imports any kernel.
"""

import os

import pytest
import torch


def triton_device() -> torch.device:
    """Return where kernels run in this process; skip the calling module where they cannot."""
    if torch.cuda.is_available():
        pytest.importorskip("triton", reason="Triton is not installed (the extra 'gpu')")
        return torch.device("cuda")
    os.environ["TRITON_INTERPRET"] = "1"
    language = pytest.importorskip("triton.language", reason="Triton is not installed (the extra 'gpu')")
    if type(language.max).__name__ != "InterpretedFunction":
        pytest.skip("Triton was imported before its interpreter was switched on", allow_module_level=True)
    return torch.device("cpu")
