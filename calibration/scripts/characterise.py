"""Characterise a small array of a chip, print what a physicist asks first, and draw the pages. Copy and change it."""

from pathlib import Path

from rpudriver.backends.registry import make
from rpudriver.calibration.characterise import Characterise
from rpudriver.plots.characterisation import draw_characterisation

BACKEND, OPTIONS = "simulated", {"preset": "asymmetric-100", "seed": 3}  # any backend of `rpudriver backends list`
ROWS = COLUMNS = 16  # devices are measured in parallel; 1000 give means to a few per cent at 30 % spread
CYCLES = 3  # each sweep up and down halves little, but tells drift and c2c noise from one another
OUT = Path("characterised")


def main() -> None:
    """Measure, print, draw."""
    with make(BACKEND, **OPTIONS) as chip:
        chip.arm()
        array = chip.allocate("devices", ROWS, COLUMNS)
        procedure = Characterise(cycles=CYCLES)
        print("this takes", procedure.cost(chip.capabilities, array))
        procedure.fit(chip, array)
    for name, found in procedure.summary()["population"].items():
        if found["devices"]:
            print(f"{name:15} median {found['median']:10.4g}   spread {found['spread']:8.2g}   "
                  f"error of one device {found['median_error']:8.2g}")  # fmt: skip
    for finding in procedure.findings_:
        print(f"finding: {finding}")
    draw_characterisation(procedure, OUT)
    print(f"pictures are in {OUT}")


if __name__ == "__main__":
    main()
