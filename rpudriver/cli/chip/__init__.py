"""``rpudriver chip``: a chip at the end of a cable, by hand; and an emulated one to practise on."""

import argparse

from rpudriver.cli.chip import arm, emulate, journal, limits, pulse, status

DESCRIPTION = "A chip at the end of a cable: who is there, what it may see, what was done to it."
EPILOG = """\
try it without a chip:
  rpudriver chip emulate board --link board             in a terminal of its own
  rpudriver chip status serial-board --set port=board --set chip=emulated-64
  rpudriver chip pulse serial-board --set port=board --set chip=emulated-64 --count 5
  rpudriver train digits-ttv2-board --out runs/board

docs/bring-up.md leads from "nothing is connected" to the first training run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver chip`` takes."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (status, limits, arm, pulse, journal, emulate):
        module.add_arguments(commands)
