"""A source-measure channel on the bench's wiring: what it drives, what flows, and whether its limit holds it back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from rpudriver.backends.hardware.emulator.wiring import Wiring

NOISE = 1e-5  # root mean square of a measured current in parts of its range; assumed


@final
@dataclass(frozen=True)
class Reading:
    """One measurement.

    Attributes
    ----------
    volts, amperes : at the terminal.
    limited : the source was held back by its limit.
    time_s : clock of the channel.
    """

    volts: float
    amperes: float
    limited: bool
    time_s: float


@final
class Channel:
    """Voltage or current source with a limit on the other quantity.

    Whatever voltage stands at the devices acts on them for as long as it stands there: inside the instrument for the
    time that its programme says (`pass_time`), otherwise for the time until the next command.

    Parameters
    ----------
    terminal : name of its place on the wiring.
    """

    def __init__(self, wiring: Wiring, terminal: str) -> None:
        self._wiring, self._terminal = wiring, terminal
        self.function = "voltage"  # or "current"
        self.level = 0.0
        self.limit = {"voltage": 1e-4, "current": 21.0}  # of the other quantity, by function
        self.output = False
        self.limit_met = False  # latched until `take_limit_met`
        self._since = time.monotonic()
        self._ahead = 0.0  # programmed time that did not pass on the wall clock
        self._programmed = False
        wiring.attach(terminal, self)

    def set(
        self,
        level: float | None = None,
        output: bool | None = None,
        function: str | None = None,
        limit: float | None = None,
    ) -> None:
        """Change what is driven; what was driven until now has acted."""
        with self._wiring.lock:
            self.settle()
            if function is not None and function != self.function:
                self.function, self.level = function, 0.0
            self.level = self.level if level is None else level
            self.output = self.output if output is None else output
            if limit is not None:
                self.limit[self.function] = limit
            self._wiring.set_potential(self._terminal, self._driven()[0])

    @contextmanager
    def programme(self) -> Iterator[None]:
        """Run a programme of the instrument: only the time that it says counts."""
        with self._wiring.lock:
            self.settle()
            self._programmed = True
            try:
                yield
            finally:
                self._programmed, self._since = False, time.monotonic()

    def pass_time(self, seconds: float) -> None:
        """Let programmed time pass at the present level."""
        with self._wiring.lock:
            self.settle()
            self._act(seconds)
            self._ahead += seconds
            self._since = time.monotonic()

    def settle(self) -> None:
        """Let what stood at the devices since the last command act on them."""
        if self._programmed:
            return
        now = time.monotonic()
        self._act(now - self._since)
        self._since = now

    def _act(self, seconds: float) -> None:
        volts, limited = self._driven()
        self.limit_met |= limited
        self._wiring.stress(self._terminal, volts, seconds)

    def measure(self, seconds: float, span: float | None) -> Reading:
        """Measure over an aperture, currents in a range; None is one that just fits."""
        with self._wiring.lock:
            self.pass_time(seconds)
            volts, limited = self._driven()
            amperes = volts * self._wiring.load(self._terminal) if volts else 0.0
            if self.output:
                amperes += NOISE * (abs(amperes) if span is None else span) * self._wiring.chip.normal()
            self.limit_met |= limited
        return Reading(volts, amperes, limited, time.monotonic() + self._ahead)

    def take_limit_met(self) -> bool:
        """Return whether the limit held the source back since the last call."""
        met, self.limit_met = self.limit_met, False
        return met

    @property
    def limited(self) -> bool:
        """Whether the limit holds the source back now."""
        with self._wiring.lock:
            return self._driven()[1]

    def _driven(self) -> tuple[float, bool]:
        """Return volts at the terminal and whether the limit holds, for a load that is a conductance to ground."""
        if not self.output or not self.level:
            return 0.0, False
        limit, sign = self.limit[self.function], 1.0 if self.level > 0 else -1.0
        if self.function == "voltage":
            if abs(self.level) * self._wiring.most_load(self._terminal) <= limit:
                return self.level, False  # without asking the devices
            load = self._wiring.load(self._terminal)
            held = abs(self.level) * load > limit
            return (sign * limit / load if held else self.level), held
        load = self._wiring.load(self._terminal)
        held = abs(self.level) > limit * load
        return (sign * limit if held else self.level / load), held
