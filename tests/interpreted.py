"""Triton kernels in a test: on a GPU where there is one, else through Triton's interpreter on the CPU (`conftest`)."""

import pytest
import torch


def triton_device() -> torch.device:
    """Return where kernels run in this process; skip the calling module where Triton is not installed."""
    language = pytest.importorskip("triton.language", reason="Triton is not installed (the extra 'gpu')")
    if torch.cuda.is_available():
        return torch.device("cuda")
    assert type(language.max).__name__ == "InterpretedFunction", "Triton was imported before conftest.py"
    return torch.device("cpu")
