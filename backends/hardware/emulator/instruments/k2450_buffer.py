"""Reading buffers of the 2450."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, final

from rpudriver.backends.hardware.emulator.instruments.status import CommandError

OVERFLOW = 9.9e37
LIMITED, OUTPUT_ON = 32, 128  # source status bits, reference manual 2450-901-01, bufferVar.sourcestatuses

Unit = Literal["Amp DC", "Volt DC", "Ohm"]


@final
@dataclass(frozen=True)
class Entry:
    """A reading with its source value and status."""

    reading: float
    unit: Unit
    source: float
    source_unit: Unit
    source_status: int
    time_s: float


@final
@dataclass
class Buffer:
    """Holds readings until it is full (``ONCE``) or forgets the oldest (``CONTinuous``)."""

    size: int = 100_000
    continuous: bool = True
    entries: list[Entry] = field(default_factory=list)

    def append(self, entry: Entry) -> None:
        if len(self.entries) >= self.size:
            if not self.continuous:
                return
            del self.entries[0]
        self.entries.append(entry)

    def between(self, first: int, last: int) -> list[Entry]:
        """Return readings ``first`` to ``last``, counted from 1."""
        if not 1 <= first <= last <= len(self.entries):
            raise CommandError(-222, f"readings {first} to {last}, the buffer has {len(self.entries)}")
        return self.entries[first - 1 : last]


def _scientific(value: float) -> str:
    return f"{value:.6E}"


def _clock(entry: Entry, pattern: str) -> str:
    return time.strftime(pattern, time.gmtime(entry.time_s))


ELEMENTS: dict[str, Callable[[Entry, Entry], str]] = {  # of a reading and the first of the buffer
    "DATE": lambda entry, first: _clock(entry, "%m/%d/%Y"),
    "FORMatted": lambda entry, first: f"{entry.reading:+.6E} {entry.unit}",
    "FRACtional": lambda entry, first: _scientific(entry.time_s % 1),
    "READing": lambda entry, first: _scientific(entry.reading),
    "RELative": lambda entry, first: _scientific(entry.time_s - first.time_s),
    "SEConds": lambda entry, first: str(int(entry.time_s)),
    "SOURce": lambda entry, first: _scientific(entry.source),
    "SOURFORMatted": lambda entry, first: f"{entry.source:+.6E} {entry.source_unit}",
    "SOURSTATus": lambda entry, first: str(entry.source_status),
    "SOURUNIT": lambda entry, first: entry.source_unit,
    "STATus": lambda entry, first: "8",  # front terminals, nothing questionable
    "TIME": lambda entry, first: _clock(entry, "%H:%M:%S"),
    "TSTamp": lambda entry, first: _clock(entry, "%m/%d/%Y %H:%M:%S"),
    "UNIT": lambda entry, first: entry.unit,
}
