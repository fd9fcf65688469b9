"""Peak memory of training one large array, in a process of its own: ``python -m benchmarks.memory N SAMPLES``."""

import subprocess
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).parents[1]


def peak_memory_mib(n: int, samples: int) -> float:
    """Return the largest resident memory, in MiB, of a fresh process that updates an ``n x n`` array three times."""
    command = [sys.executable, "-m", "benchmarks.memory", str(n), str(samples)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _peak_mib() -> float:
    """Return the largest resident memory of this program; on Linux `ru_maxrss` holds that of its parent besides."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 2**10
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes, KiB


def main() -> None:
    """Train and print the peak."""
    from benchmarks.chips import SOFT_BOUNDS, Updates, open_chip

    n, samples = int(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(1)
    chip = open_chip(SOFT_BOUNDS, n, n)
    batch = 0.3 * torch.randn(samples, n), 0.1 * torch.randn(samples, n)
    update = Updates(chip, chip.allocate("W", n, n), [batch], 0.01, 31)
    for _ in range(3):
        update()
    print(_peak_mib())


if __name__ == "__main__":
    main()
