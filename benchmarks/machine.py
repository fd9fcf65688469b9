"""What a timing depends on besides the code: processor, cores, versions, date."""

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("rpudriver", "torch", "numpy", "numba", "triton", "aihwkit")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return the machine, the versions and the date, for the JSON file."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": _gpu(),
        "blas": _blas(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def cpu_model() -> str:
    """Return the processor's name with its widest vector unit, as far as the system tells."""
    text = _cpu_info()
    model = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    numbers = [_value(text, key) for key in ("cpu family", "model\t")]
    unit = "AVX512" if "avx512f" in text else "AVX2" if "avx2" in text else ""
    return " ".join(filter(None, [model or platform.processor(), f"(family {'/'.join(numbers)})" * all(numbers), unit]))


def openblas_core() -> str | None:
    """Return the name under which OpenBLAS has kernels for this processor, None where it had better guess itself.

    Older builds take new or virtual processors for a Pentium 4 (``Prescott``), which slows the peer's reads threefold.
    """
    text = _cpu_info()
    return "SkylakeX" if "avx512f" in text else "Haswell" if "avx2" in text else None


def _cpu_info() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _value(text: str, key: str) -> str:
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(key)), "")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _blas() -> list[str]:
    """Return every BLAS in the process with the kernels that it chose."""
    from threadpoolctl import threadpool_info

    found = (entry for entry in threadpool_info() if entry["user_api"] == "blas")
    return [f"{entry['prefix']} {entry['version']} ({entry.get('architecture')})" for entry in found]
