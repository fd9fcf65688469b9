"""``rpudriver calibrate zero-shift`` and ``zero-shift-response``."""

import argparse

from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.cli.calibrate import common
from rpudriver.plots.zero_shift import draw_zero_shift

FILES = """
files:
  dataset.h5      every read, the points, what the references were written to, both verifications
  result.json     points, pulses, vectors, what is left by verification, findings
  zero-shift.png  points before and after, convergence, verification
"""

ALTERNATING = f"""\
Every device gets up and down pulses in turn until it rests at its symmetry point; the mean of the last reads is the
point. Then the reference of each cell is pulsed until the point reads as zero (or the points are kept: --reference
digital), and two measurements with fresh reads tell where the points are now. It takes no model of the device.
{FILES}
examples:
  rpudriver calibrate zero-shift --set preset=asymmetric-100 --rows 32 --columns 32 --out zero
  rpudriver calibrate zero-shift --backend reference --set preset=asymmetric-100 --rows 6 --columns 6 --out r
"""

RESPONSE = f"""\
Bursts of pulses lead each device towards its estimated point and then around it, with a read of all weights after
each; where the lines of up and down steps cross is the point. A device is left alone once its standard error is below
--precision. It takes a third to a quarter of the pulses of alternation, more reads, and, with --bursts own, more chip
time: columns are pulsed one after the other.
{FILES}
examples:
  rpudriver calibrate zero-shift-response --set preset=rpu-asymmetric --rows 64 --columns 64 --out zero
  rpudriver calibrate zero-shift-response --set preset=rpu-asymmetric --rows 64 --columns 64 --bursts common --out fast
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    common.add_command(
        commands,
        AlternatingZeroShift,
        help="make symmetry points read as zero, by alternating pulses",
        epilog=ALTERNATING,
        draw=draw_zero_shift,
    )
    common.add_command(
        commands,
        ResponseZeroShift,
        help="the same with fewer pulses, from measured responses",
        epilog=RESPONSE,
        draw=draw_zero_shift,
    )
