"""Extract the weights of an array: open a chip, write something, read it back with standard errors, draw."""

from pathlib import Path

import torch

from rpudriver.backends.registry import make
from rpudriver.calibration.extraction import Extract
from rpudriver.plots.extraction import plot_extraction

TARGET = 0.005  # standard error of a weight, chip units: a tenth of what the devices' steps leave
ROWS, COLUMNS = 32, 48  # of the array
OUT = Path("extraction.png")


def main() -> None:
    """Run it on a simulated chip; put your own backend's name and options here."""
    with make("simulated", preset="asymmetric-100", seed=1) as chip:
        chip.arm()
        array = chip.allocate("W", ROWS, COLUMNS)
        wanted = 0.2 * torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1))
        chip.write(array, wanted)
        found = Extract(target=TARGET).fit(chip, array)
    for finding in found.findings_:
        print(f"finding: {finding}")
    error = float((found.weights_ - wanted).std())
    print(f"{found.reads_} reads; standard error {float(found.error_.mean()):.4f}, what writing missed {error:.4f}")
    plot_extraction(found, OUT)


if __name__ == "__main__":
    main()
