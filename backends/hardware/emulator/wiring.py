"""How the instruments of the emulated bench meet the chip: the cables, the matrix cards, the lines of the arrays.

Each array has a matrix card of its own. A card's rows go to the instruments, its columns to the lines of the array: the
bit lines (columns of the array) first, the word lines (gates of its rows) after them. The source plate of an array is
grounded. So a device conducts where its word line is at a gate voltage, and sees minus the voltage of its bit line:
what floats carries nothing, and there are no sneak paths.
"""

import threading
from collections.abc import Iterator
from typing import Protocol, final

from rpudriver.backends.hardware.emulator.probes import Probes
from rpudriver.errors import ConfigError

CARD_ROWS, CARD_COLUMNS, SLOTS = 6, 16, 6
TERMINALS = {1: "2450", 2: "ground", 3: "smua", 4: "smub"}  # by the row of a card
GATE_THRESHOLD_V = 0.7
CONTACT_S = 1.0  # conductance of two closed relays: what a short takes


class Source(Protocol):
    """What drives a terminal."""

    def settle(self) -> None:
        """Let what was driven until now act."""


@final
class Wiring:
    """Which terminal is on which line, and what that makes the devices see.

    Parameters
    ----------
    chip : Probes
        At most six arrays, rows and columns at most sixteen together.
    """

    def __init__(self, chip: Probes) -> None:
        if chip.arrays > SLOTS or chip.rows + chip.columns > CARD_COLUMNS:
            raise ConfigError(
                f"{chip.arrays} arrays of {chip.rows} x {chip.columns} do not fit the bench: at most {SLOTS} arrays, "
                f"and rows and columns at most {CARD_COLUMNS} together"
            )
        self.chip = chip
        self.lock = threading.RLock()
        self._closed: set[tuple[int, int, int]] = set()  # slot, row, column of relays, from 1
        self._sources: dict[str, Source] = {}
        self._potential: dict[str, float] = {"ground": 0.0}
        self._reached: dict[str, list[tuple[int, int, int]]] = {}  # of the relays and gates as they are

    def attach(self, terminal: str, source: Source) -> None:
        """Connect an instrument."""
        self._sources[terminal] = source
        self._potential[terminal] = 0.0

    def set_potential(self, terminal: str, volts: float) -> None:
        """Note what a terminal drives: it may be at gates."""
        if volts != self._potential[terminal]:
            self._settle_others(terminal)
            if (volts >= GATE_THRESHOLD_V) != (self._potential[terminal] >= GATE_THRESHOLD_V):
                self._reached.clear()
            self._potential[terminal] = volts

    @property
    def closed(self) -> frozenset[tuple[int, int, int]]:
        """The relays that are closed."""
        return frozenset(self._closed)

    def switch(self, closed: set[tuple[int, int, int]]) -> None:
        """Set all relays; what was driven until now has acted."""
        with self.lock:
            for source in self._sources.values():
                source.settle()
            self._closed = set(closed)
            self._reached.clear()

    def load(self, terminal: str) -> float:
        """Return the conductance between a terminal and ground, in siemens."""
        return sum(self.chip.conductance(*place) for place in self._devices(terminal)) + self._shorted(terminal)

    def most_load(self, terminal: str) -> float:
        """Return what `load` is at most, whatever the devices are."""
        return len(self._devices(terminal)) * self.chip.most_siemens + self._shorted(terminal)

    def stress(self, terminal: str, volts: float, seconds: float) -> None:
        """Let a terminal's voltage act on the devices that it reaches."""
        if volts and seconds > 0:
            for array, row, column in self._devices(terminal):
                self.chip.stress(array, row, column, -volts, seconds)

    def _settle_others(self, terminal: str) -> None:
        for name, source in self._sources.items():
            if name != terminal:
                source.settle()

    def _lines(self, terminal: str) -> Iterator[tuple[int, int]]:
        for slot, row, column in self._closed:
            if TERMINALS.get(row) == terminal:
                yield slot, column

    def _devices(self, terminal: str) -> list[tuple[int, int, int]]:
        """Return array, row and column of the devices that a terminal reaches."""
        found = self._reached.get(terminal)
        if found is None:
            found = self._reached[terminal] = self._find_devices(terminal)
        return found

    def _find_devices(self, terminal: str) -> list[tuple[int, int, int]]:
        columns = self.chip.columns
        return [
            (slot - 1, row, line - 1)
            for slot, line in self._lines(terminal)
            if line <= columns
            for row in self._conducting(slot)
        ]

    def _conducting(self, slot: int) -> list[int]:
        """Return the rows of an array whose gates are on."""
        columns, rows = self.chip.columns, self.chip.rows
        gates = {
            column - columns - 1
            for at, row, column in self._closed
            if at == slot
            and columns < column <= columns + rows
            and self._potential.get(TERMINALS.get(row, ""), 0.0) >= GATE_THRESHOLD_V
        }
        return sorted(gates)

    def _shorted(self, terminal: str) -> float:
        """Return the conductance to other terminals on the lines of this one."""
        lines = set(self._lines(terminal))
        others = [1 for slot, row, line in self._closed if (slot, line) in lines and TERMINALS.get(row) != terminal]
        return CONTACT_S * len(others)
