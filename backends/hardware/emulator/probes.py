"""An emulated chip under probes: one device at a time has a conductance, and sees volts for a time."""

from typing import final

import numpy as np

from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.rails import Rails
from rpudriver.keyed import native

_AHEAD = 1024  # numbers drawn at once


@final
class Probes:
    """What lies between the lines of a chip and the wiring of a bench.

    The read noise of a device preset is that of the amplifiers next to an array: on a bench there are none, and the
    instruments bring their own.
    """

    def __init__(self, chip: EmulatedChip) -> None:
        profile = chip.profile
        self._chip = chip
        self.arrays, self.rows, self.columns = profile.arrays, profile.rows, profile.columns
        self._drawn_so_far, self._drawn = 0, np.zeros((1, 0), np.float32)
        bounds = max(float(bank.parameters["w_max"].max()) for bank in chip.banks)
        self.most_siemens = chip.middle_siemens + profile.siemens_per_unit * bounds

    def conductance(self, array: int, row: int, column: int) -> float:
        """Return the conductance of a device in siemens."""
        return float(self._chip.siemens(array)[row, column])

    def normal(self) -> float:
        """Return the next standard normal number, for what the instruments add."""
        place = self._drawn_so_far % _AHEAD
        if place == 0:
            self._drawn = native.gaussian_grid(self._chip.seed, "bench/noise", self._drawn_so_far // _AHEAD, 1, _AHEAD)
        self._drawn_so_far += 1
        return float(self._drawn[0, place])

    def stress(self, array: int, row: int, column: int, volts: float, seconds: float) -> None:
        """Let a voltage (row minus column) stand across a device for a time."""
        width_ns = round(seconds * 1e9)
        if not self._chip.acts(volts, width_ns):
            return
        self._chip.set_rails(array, Rails(column_active=-volts, gate=1.0, floating=True))
        self._chip.fire(array, width_ns, _mask(row, self.rows), _mask(column, self.columns))


def _mask(line: int, lines: int) -> np.ndarray:
    mask = np.zeros((1, -(-lines // 8)), np.uint8)
    mask[0, line >> 3] = 1 << (line & 7)
    return mask
