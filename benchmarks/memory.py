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


def main() -> None:
    """Train and print the peak; `ru_maxrss` is in KiB, on macOS in bytes."""
    import resource

    from benchmarks.chips import SOFT_BOUNDS, Updates, open_chip

    n, samples = int(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(1)
    chip = open_chip(SOFT_BOUNDS, n, n)
    batch = 0.3 * torch.randn(samples, n), 0.1 * torch.randn(samples, n)
    update = Updates(chip, chip.allocate("W", n, n), [batch], 0.01, 31)
    for _ in range(3):
        update()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)


if __name__ == "__main__":
    main()
