"""Every batch exactly once: intent into the journal, then the instrument, then the result into the journal.

A run that is resumed goes through its journal from the start: as long as it asks for what the journal holds, it gets
the results that came then and nothing is sent. Where the journal ends, the instrument takes over.
"""

import contextlib
import logging
import struct
from collections.abc import Callable, Iterator
from typing import final

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Driver, Fate, Reply, Ticket
from rpudriver.backends.hardware.encoding import CodeForm, Room, read_pieces
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_records import Entry
from rpudriver.errors import ComplianceError, JournalError, LinkLostError, NotArmedError

log = logging.getLogger("rpudriver.hardware")
_LENGTH = struct.Struct("<I")  # of the records, before what was read back


@final
class Ledger:
    """Does batches, and knows how far a run has come.

    Parameters
    ----------
    driver : the instrument, connected.
    open_journal : makes a journal of its own for a run that was not given one.
    form : of input codes, for reading devices back.
    """

    def __init__(self, driver: Driver, open_journal: Callable[[], Journal], form: CodeForm) -> None:
        self._driver, self._open, self._form = driver, open_journal, form
        self._journal: Journal | None = None
        self.position = 0  # of the next batch
        self._broken_off: str | None = None  # the error that the program was told at this position
        self._unread: int | None = None  # a batch that is uncertain, and that the program will not ask for

    @property
    def journal(self) -> Journal:
        """The journal of this run."""
        if self._journal is None:
            self._journal = self._open()
        return self._journal

    def use(self, journal: Journal) -> None:
        """Take a journal, from its beginning, and find out what became of a batch that was in flight."""
        if self._journal is not None:
            raise JournalError(f"this run already writes {self._journal.path}; open the chip anew for another journal")
        self._journal, self.position = journal, 0
        self.settle()

    def settle(self) -> None:
        """Find out what became of the batch in flight, if there is one; to be called before and after arming.

        Of a run that is resumed, one that was not done is done when its turn comes, under a new number: an ARM has
        taken the one that it had. One that broke off in this process, with an error, is not asked for again: the
        program goes on after it.
        """
        pending = None if self._journal is None else self._journal.pending
        if pending is not None:
            self._settle(pending)
        if self._broken_off is not None:
            self._leave(self._broken_off)

    @property
    def replaying(self) -> bool:
        """Whether the next batch is in the journal already."""
        return self._journal is not None and self.position < self._journal.batches

    def move(self, position: int) -> None:
        """Go on from another place: a snapshot is being restored.

        Raises
        ------
        JournalError
            If the journal does not reach that far.
        """
        if not 0 <= position <= self.journal.batches:
            raise JournalError(
                f"the snapshot was taken after batch {position}, but {self.journal.path} holds {self.journal.batches}; "
                "resume with the journal of that run"
            )
        self.position, self._broken_off = position, None

    def do(self, operations: bytes) -> Reply:
        """Return the reply to a batch, from the journal or from the instrument.

        Raises
        ------
        LinkLostError, BoardError, JournalError
        NotArmedError
            Also if a batch has broken off since `settle`.
        ComplianceError
            If the current limit was hit; what came after in the batch was not done.
        """
        self._check_whole()
        entry = self._known(operations) if self.replaying else None
        with self._telling():
            reply = self._begin(operations) if entry is None else self._finish(entry)
            self.position += 1
        if reply.tripped:
            raise ComplianceError(
                f"batch {self.position - 1}: the current limit was hit; outputs are at rest and the rest was not sent. "
                "Look for a shorted device, lower the volts or raise the envelope's compliance_a; then arm again"
            )
        return reply

    def _check_whole(self) -> None:
        if self._broken_off is not None and self._at_last:
            raise NotArmedError(
                f"batch {self.position} broke off ({self._broken_off}); arm the chip again: that finds out what became "
                "of it, and tells"
            )
        self._broken_off = None  # not even its intent was written
        if self._unread is not None:
            self._read_back(self.journal.lookup(self._unread))
            self._unread = None

    @property
    def _at_last(self) -> bool:
        """Whether the next batch is the last one of the journal."""
        return self._journal is not None and self.position == self._journal.batches - 1

    def _leave(self, error: str) -> None:
        """Go on after a batch that broke off, as soon as it is known for good what became of it."""
        if self._at_last:
            entry = self.journal.lookup(self.position)
            if entry.pending and entry.ticket is not None:
                return  # it may be on its way: once the instrument is armed it cannot be done any more
            self.journal.left(entry.number, error)
            self._go_past(entry)
            became = "was done" if entry.reply is not None else "was not done, and is not sent any more"
            if entry.uncertain:
                became = "may have been done or not: the devices that it was to pulse are read into the journal"
            log.warning(
                "batch %d broke off, and %s; what followed it in its sequence was not sent", entry.number, became
            )
        self._broken_off = None

    def _go_past(self, entry: Entry) -> None:
        """Go on after a batch that the program got an error for."""
        self.position += 1
        self._unread = entry.number if entry.uncertain and entry.reread is None else None

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Remember an error that the program is told at this position."""
        try:
            yield
        except BaseException as error:  # Ctrl-C as well
            self._broken_off = f"{type(error).__name__}: {error}".removesuffix(": ")
            raise

    def _known(self, operations: bytes) -> Entry:
        """Return what the journal holds of the next batch.

        Raises
        ------
        JournalError
            If it holds another one.
        LinkLostError
            If the program was told of an error then, and went on after it.
        """
        entry = self.journal.lookup(self.position)
        if entry.operations != operations:
            raise JournalError(
                f"batch {self.position} of {self.journal.path} is not what this run does now: it was written by "
                "another run, config or version. Start anew with another journal"
            )
        if entry.left is not None:
            self._go_past(entry)
            raise LinkLostError(f"batch {entry.number} broke off when it was done first, with {entry.left}")
        return entry

    def _begin(self, operations: bytes) -> Reply:
        ticket = self._driver.stamp(operations)
        self.journal.intent(self.position, ticket, operations)
        return self._carry_out(self.position, ticket, operations)

    def _finish(self, entry: Entry) -> Reply:
        """Return the reply to a batch of the journal: done then, done now, or read back."""
        if entry.pending:
            self._settle(entry)
            entry = self.journal.lookup(entry.number)
        if entry.reply is not None:
            return entry.reply
        if entry.uncertain:
            return Reply(_records(entry.reread) if entry.reread is not None else self._read_back(entry))
        ticket = entry.ticket
        if ticket is None:
            ticket = self._driver.stamp(entry.operations)
            self.journal.again(entry.number, ticket)
        return self._carry_out(entry.number, ticket, entry.operations)

    def _settle(self, entry: Entry) -> None:
        """Write what became of a batch; that it has not been done is written where that is final."""
        fate = Fate.NOT_YET if entry.ticket is None else self._driver.settle(entry.ticket, entry.operations)
        if isinstance(fate, Reply):
            self.journal.result(entry.number, fate)
        elif fate is Fate.NOT_DONE:
            self.journal.not_done(entry.number)
        elif fate is Fate.UNKNOWN:
            log.warning("batch %d is uncertain: it is not sent again, its devices are read back", entry.number)
            self.journal.uncertain(entry.number, "nobody can tell whether it was done")

    def _carry_out(self, number: int, ticket: Ticket, operations: bytes) -> Reply:
        """Have a batch done that the journal holds; it holds every ticket before the instrument sees it."""
        reply = self._driver.send(ticket, operations, lambda other: self.journal.again(number, other))
        self.journal.result(number, reply)
        return reply

    def _read_back(self, entry: Entry) -> bytes:
        """Do the reads of an uncertain batch, and read the devices that it may have pulsed instead of pulsing them."""
        records, devices = [], []
        for op, flags, body in wire.pieces(entry.operations):
            if op == wire.READ:
                records.append(self._read(wire.OPERATION.pack(op, flags, len(body)) + body))
                continue
            records.append(wire.record())
            if op == wire.PULSE:
                devices += self._devices(body)
        found = b"".join(records)
        self.journal.reread(entry.number, _LENGTH.pack(len(found)) + found + b"".join(devices))
        return found

    def _devices(self, body: bytes) -> list[bytes]:
        """Return the records of reading every device of a pulsed rectangle, column after column."""
        array, _, row, rows, column, columns, _, _ = wire.PULSE_HEAD.unpack_from(body)
        where = wire.Rectangle(array, row, rows, column, columns)
        codes = wire.one_hot_codes(columns, self._form.largest)
        request, reply = self._driver.largest
        room = Room(request, reply, self._form.vector_ns * columns)
        return [self._read(piece.data) for piece in read_pieces(where, None, 0, False, codes, self._form, room)]

    def _read(self, operations: bytes) -> bytes:
        """Return the records of a read that the journal need not know of: it may be made twice."""
        return self._driver.send(self._driver.stamp(operations), operations).records

    def note(self, text: str) -> None:
        """Write a line for people, if anything has been written yet."""
        log.info(text)
        if self._journal is not None:
            try:
                self._journal.note(text)
            except JournalError as error:  # nothing depends on it, and outputs have to go idle on a full disk, too
                log.warning("not in the journal: %s", error)

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()


def _records(reread: bytes) -> bytes:
    """Return the records of an uncertain batch; what was read of its devices follows them."""
    (length,) = _LENGTH.unpack_from(reread)
    return reread[_LENGTH.size : _LENGTH.size + length]
