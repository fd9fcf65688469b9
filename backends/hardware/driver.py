"""What lies between the hardware backend and one instrument: operations go down as bytes, records come up.

Operations and records are those of a RUN frame in ``docs/protocol.md`` for every instrument: a serial board gets them
as they are, other drivers decode them (`rpudriver.backends.hardware.operations`). So there is one journal, one set of
limits and one accounting for all of them.
"""

import contextlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Self, final

from rpudriver.errors import BoardError

ATTEMPTS = 3  # to have a batch done by an instrument that falls asleep
_TICKET = struct.Struct("<III")


class StaleTicketError(BoardError):
    """A batch was not done, and its number went to something else: `Driver.stamp` has to give it another."""


@final
@dataclass(frozen=True)
class Ticket:
    """What identifies a batch on its instrument, known before it is sent and kept in the journal.

    Attributes
    ----------
    session : what changes when the instrument restarts.
    seq : number of the batch within the session.
    crc : of what is sent.
    """

    session: int
    seq: int
    crc: int

    SIZE: ClassVar[int] = _TICKET.size

    def pack(self) -> bytes:
        """Return the ticket as bytes."""
        return _TICKET.pack(self.session, self.seq, self.crc)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the ticket that `pack` packed."""
        return cls(*_TICKET.unpack(data))


@final
@dataclass(frozen=True)
class Reply:
    """What an instrument says of a batch that it did.

    Attributes
    ----------
    records : as in the reply to RUN, one for each operation that was done.
    tripped : the compliance limit was hit in the last of them and the rest was not done; outputs are at rest.
    """

    records: bytes
    tripped: bool = False


@final
class Fate(Enum):
    """What is known of a batch whose reply never came, where there is no reply any more."""

    NOT_YET = "not done so far: it still may be, under its number, if it is on its way"
    NOT_DONE = "not done, and it cannot be any more under its number"
    UNKNOWN = "nobody can tell"


@final
@dataclass(frozen=True)
class KindCodes:
    """A kind of pulse in converter codes, as in ARM; rails are (row active, row rest, column active, column rest).

    Where lines float, those that are not active are connected to nothing, and one cross-point is fired at a time.
    """

    up: tuple[int, int, int, int]
    down: tuple[int, int, int, int]
    gate: int
    ways: int  # bit 0 up, bit 1 down
    width_ns: int
    gap_ns: int
    floating: bool = False

    @property
    def most_half(self) -> tuple[int, int]:
        """The largest codes, up and down, across devices of which one line or none is selected."""
        return self._half(self.up), self._half(self.down)

    def _half(self, rails: tuple[int, int, int, int]) -> int:
        row, row_rest, column, column_rest = rails
        if self.floating:  # potentials of floating lines lie anywhere between those of the driven ones
            return abs(row - column)
        if self.gate:  # rows that are not selected see nothing
            return abs(row - column_rest)
        return max(abs(row - column_rest), abs(row_rest - column), abs(row_rest - column_rest))


@final
@dataclass(frozen=True)
class Settings:
    """What an instrument is armed with: never more than the chip profile allows; codes as in ARM.

    Attributes
    ----------
    kinds : kinds of pulse by their number in operations.
    """

    kinds: tuple[KindCodes, ...]
    max_input: int
    max_bl: int
    compliance: int
    read_us: int
    max_run_us: int
    watchdog_ms: int


@final
@dataclass(frozen=True)
class Identity:
    """Who answers at the end of a cable, and what state it is in.

    Attributes
    ----------
    chip : name of the chip.
    firmware : what runs there, for people.
    session : see `Ticket`.
    armed, reason : state, and the word for why it is not armed.
    pulses : device pulses that the instrument has counted over its life, None where it counts none.
    """

    chip: str
    firmware: str
    session: int
    armed: bool
    reason: str
    pulses: int | None


class Driver(ABC):
    """One instrument. Opening it changes no output.

    Every wait is bounded, and whatever breaks the link raises `LinkLostError`.
    """

    @abstractmethod
    def connect(self) -> Identity:
        """Find out who is there, and refuse who is not what the profile says; no output is changed.

        Raises
        ------
        LinkLostError, BoardError
        """

    @property
    @abstractmethod
    def largest(self) -> tuple[int, int]:
        """Bytes of operations and of records that one batch may have."""

    @property
    def draws_trains(self) -> bool:
        """Whether the instrument draws trains from a seed and thresholds by itself (DRAWN)."""
        return False

    @abstractmethod
    def arm(self, settings: Settings) -> None:
        """Set the limits and allow batches; outputs stay at rest."""

    @abstractmethod
    def stamp(self, operations: bytes) -> Ticket:
        """Return the ticket of the next batch; sends nothing."""

    @abstractmethod
    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        """Do a batch exactly once.

        Raises
        ------
        LinkLostError
            If it cannot be known whether it was done: `settle` is to find out, with the next connection.
        NotArmedError
            If the instrument is not armed, or not any more; nothing was done.
        StaleTicketError
            If the instrument had to be armed again, which took the number; nothing was done.
        BoardError
            If it was refused; nothing was done.
        """

    @final
    def send(self, ticket: Ticket, operations: bytes, note: Callable[[Ticket], None] = lambda ticket: None) -> Reply:
        """Do what `run` does; where the ticket has become stale, under another one, which `note` is told before."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(StaleTicketError):
                return self.run(ticket, operations)
            ticket = self.stamp(operations)
            note(ticket)
        return self.run(ticket, operations)

    @abstractmethod
    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        """Return what became of a batch whose reply never came: its reply, if it was done. Nothing is done by this.

        To be called before `arm`, after which an instrument may not remember; and again after it, for `arm` takes the
        number of a batch that has not been done.

        Raises
        ------
        LinkLostError
            If the link broke once more: settle with the next connection.
        """

    @abstractmethod
    def idle(self) -> None:
        """Put all outputs at rest and disarm; the last resort, so it works in every state."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the instrument; closing twice is harmless."""
