"""``rpudriver calibrate``: know a chip, zero it, get the network out of it; one file a command."""

import argparse
from types import ModuleType

from rpudriver.cli.calibrate import characterise, extract, twin, zero_shift

COMMANDS: tuple[ModuleType, ...] = (characterise, zero_shift, extract, twin)

DESCRIPTION = "Calibration of a chip, simulated or real."
EPILOG = """\
Every command opens a chip (--backend, --set), measures one array, and writes a folder: config.toml, dataset.h5 (HDF5),
result.json and pictures. Ctrl-C leaves a usable data set; --resume goes on. docs/calibration.md tells what is measured
and how.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver calibrate`` takes."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
