"""``rpudriver calibrate characterise``."""

import argparse

from rpudriver.calibration.characterise import Characterise
from rpudriver.cli.calibrate import common
from rpudriver.plots.characterisation import draw_characterisation

EPILOG = """\
All devices see the same pulses: legs up and down and alternating pulses, --cycles times, all weights being read after
each group. What it takes is told by the progress bar from the start; it grows with the nominal number of states
(pulses) and, for the reads, with (read noise / (--precision * dw_min))^2.

files:
  dataset.h5            reads, and for each device estimates with errors and intervals, step against weight
  result.json           a summary of the population, the noise floor, findings
  characterisation.png  staircases, array maps, histograms, up/down step against weight
  noise.png             alternating pulses, noise and offset of the outputs, drift

examples:
  rpudriver calibrate characterise --set preset=asymmetric-100 --rows 32 --columns 32 --out chip
  rpudriver calibrate characterise --backend reference --set preset=reram-array --rows 8 --columns 8 --cycles 2 --out r
  rpudriver calibrate characterise --set preset=asymmetric-100 --rows 32 --columns 32 --out chip --resume
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    common.add_command(
        commands,
        Characterise,
        help="pulse responses, bounds, symmetry points, noise and drift of every device",
        epilog=EPILOG,
        draw=draw_characterisation,
    )
