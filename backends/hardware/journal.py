"""The journal of a run on a chip: what was meant to be sent, before it is sent, and what came of it.

A killed run resumes from it: batches that are done are answered from the journal, the one in flight is settled with
the instrument, and where nobody can tell what became of it, it is marked uncertain and read back, never sent again.
There is one journal for a run, and one batch at most without an outcome.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, final

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal_file import Record, RecordFile, scan
from rpudriver.backends.hardware.journal_records import (
    NUMBER,
    READABLE,
    RESULT,
    VERSION,
    Entry,
    Header,
    Line,
    Type,
    line_of,
    lines,
)
from rpudriver.errors import JournalError

Durability = Literal["process", "power"]

_SENT = (Type.INTENT, Type.AGAIN)
_PENDING = (*_SENT, Type.NOT_DONE)
_AFTER: dict[int, tuple[Type, ...]] = {  # after which one each record of a batch may come
    Type.INTENT: (Type.OPEN, Type.RESULT, Type.UNCERTAIN, Type.LEFT),
    Type.RESULT: _SENT,
    Type.UNCERTAIN: _SENT,
    Type.REREAD: (Type.UNCERTAIN, Type.LEFT),
    Type.NOT_DONE: _SENT,
    Type.AGAIN: _PENDING,
    Type.LEFT: (Type.RESULT, Type.UNCERTAIN, Type.NOT_DONE),
}


class _Known(NamedTuple):
    """How far a journal is known: where its records end, how many batches, what last became of the last one."""

    end: int = 0
    batches: int = 0
    last: Type = Type.OPEN


@final
class Journal:
    """The journal of a run, open for writing; get one by `create` or `resume`.

    Whatever breaks off a call, an exception or a kill, the file stays whole and this object true to it: all that it
    knows is read from the file.
    """

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self._known = _Known()
        self._intents = array("Q")  # offset of each

    @classmethod
    def create(cls, path: Path, header: Header, durable: Durability = "process") -> Self:
        """Begin the journal of a new run.

        Parameters
        ----------
        durable : ``process``: outlasts a kill of the process; ``power``: also a power cut, at the price of two
            waits for the disk in each batch.

        Raises
        ------
        JournalError
            If the file exists or cannot be written.
        """
        journal = cls(RecordFile(path, new=True, power=durable == "power"))
        try:
            journal._open(header)
        except BaseException:
            path.unlink()
            journal.close()
            raise
        return journal

    @classmethod
    def resume(cls, path: Path, header: Header, durable: Durability = "process") -> Self:
        """Go on with the journal of a run that ended, however it ended.

        Half a record at the end is moved to ``<name>.torn``.

        Raises
        ------
        JournalError
            If it is missing or damaged, or belongs to another chip, profile or backend.
        """
        journal = cls(RecordFile(path, new=False, power=durable == "power"))
        try:
            first = next(lines(path), None)
            if first is not None:
                _check_header(path, first, header)
                journal._mend()
            else:  # killed while it was created: nothing can have been sent
                journal._open(header)
        except BaseException:
            journal.close()
            raise
        return journal

    def _open(self, header: Header) -> None:
        content = {"version": VERSION, **asdict(header), "date": _now()}
        self._append(Type.OPEN, json.dumps(content).encode())

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._file.path

    @property
    def batches(self) -> int:
        """How many batches it holds, which is also the number of the next."""
        self._catch_up()
        return self._known.batches

    @property
    def pending(self) -> Entry | None:
        """The batch whose outcome is not known yet, if there is one."""
        count = self.batches
        return self.lookup(count - 1) if self._known.last in _PENDING else None

    def intent(self, number: int, ticket: Ticket, operations: bytes) -> None:
        """Note a batch before it is sent.

        Raises
        ------
        JournalError
            If it cannot be written, or if the batch before it has no outcome: do not send it.
        """
        self._append(Type.INTENT, NUMBER.pack(number) + ticket.pack() + operations)

    def result(self, number: int, reply: Reply) -> None:
        """Note what came of the pending batch. Where that fails it stays pending, and can be settled later."""
        self._append(Type.RESULT, RESULT.pack(number, reply.tripped) + reply.records)

    def uncertain(self, number: int, reason: str) -> None:
        """Note that nobody can tell whether the pending batch was done."""
        self._append(Type.UNCERTAIN, NUMBER.pack(number) + reason.encode())

    def not_done(self, number: int) -> None:
        """Note that the pending batch was not done, and cannot be any more under the number that it had."""
        self._append(Type.NOT_DONE, NUMBER.pack(number))

    def again(self, number: int, ticket: Ticket) -> None:
        """Note the new ticket of the pending batch, which was not done, before it is sent under it."""
        self._append(Type.AGAIN, NUMBER.pack(number) + ticket.pack())

    def left(self, number: int, error: str) -> None:
        """Note that the program was told of an error at the last batch, and went on after it."""
        self._append(Type.LEFT, NUMBER.pack(number) + error.encode())

    def reread(self, number: int, codes: bytes) -> None:
        """Note what was read back after the last batch, which is uncertain; the last such note counts."""
        self._append(Type.REREAD, NUMBER.pack(number) + codes)

    def note(self, text: str, **fields: Any) -> None:
        """Note something for people; fields are what JSON can say."""
        self._append(Type.NOTE, json.dumps({"text": text, "date": _now(), **fields}).encode())

    def lookup(self, number: int) -> Entry:
        """Return a batch, read from the file.

        Raises
        ------
        JournalError
            If there is none of that number.
        """
        if not 0 <= number < self.batches:
            raise JournalError(
                f"{self.path} holds the batches 0 to {self._known.batches - 1}; there is no batch {number}"
            )
        at = self._intents[number]
        end = self._intents[number + 1] if number + 1 < self._known.batches else self._known.end
        found: dict[Type, Any] = {}
        ticket: Ticket | None = None
        while at < end:
            record = self._file.read(at)
            line = line_of(self.path, record)
            found[line.type], at = line.content, record.end
            if line.type in (Type.AGAIN, Type.NOT_DONE):
                ticket = line.content
            elif line.type is Type.INTENT:
                ticket, operations = line.content
        reason = found.get(Type.UNCERTAIN)
        return Entry(
            number,
            ticket,
            operations,
            reply=found.get(Type.RESULT),
            uncertain=reason is not None,
            reason=reason or "",
            reread=found.get(Type.REREAD),
            left=found.get(Type.LEFT),
        )

    def records(self) -> Iterator[Line]:
        """Go through all that it holds."""
        return lines(self.path)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._file.close()

    def _append(self, what: Type, payload: bytes) -> None:
        self._mend()
        problem = self._problem(what, payload)
        if problem:
            raise JournalError(f"{self.path}: {what.name} {problem}")
        self._take(self._file.append(what, payload, sync=what is not Type.NOTE))

    def _catch_up(self) -> None:
        """Take in what the file holds and this object does not know, after a call that was broken off in the middle."""
        if self._file.size != self._known.end:
            for record in scan(self.path, self._known.end):
                problem = self._problem(record.type, record.payload)
                if problem:
                    raise JournalError(
                        f"{self.path} is damaged: the record at byte {record.offset}, of type {record.type}, "
                        f"{problem}; put a good copy in its place"
                    )
                self._take(record)

    def _mend(self) -> None:
        """Have the file end with a whole record that is known here."""
        if self._file.size != self._known.end:
            self._catch_up()
            self._file.cut(self._known.end)

    def _problem(self, what: int, payload: bytes) -> str | None:
        """Return why a record cannot come next."""
        end, count, last = self._known
        if what in (Type.OPEN, Type.NOTE):
            return None if (end == 0) == (what == Type.OPEN) else "is out of place: OPEN is first, and only once"
        if what not in _AFTER or len(payload) < NUMBER.size:
            return "is not known to this version of rpudriver"
        (number,) = NUMBER.unpack_from(payload)
        if number != (count if what == Type.INTENT else count - 1):
            return f"of batch {number} is out of order: {count} batches are known, numbered from 0"
        if last not in _AFTER[what]:
            return f"of batch {number} is out of order: it cannot come after {last.name}"
        return None

    def _take(self, record: Record) -> None:
        """Take in a record, by one assignment at the end: broken off before, nothing has happened."""
        _, batches, last = self._known
        if record.type == Type.INTENT:
            self._intents[batches:] = array("Q", [record.offset])
            batches += 1
        if record.type in _AFTER and record.type != Type.REREAD:
            last = Type(record.type)
        self._known = _Known(record.end, batches, last)


def _check_header(path: Path, first: Line, header: Header) -> None:
    if first.type is not Type.OPEN or first.content.get("version") not in READABLE:
        raise JournalError(
            f"{path} is not a journal of version {READABLE[0]} to {VERSION}; go on with the version of rpudriver that "
            "began it"
        )
    for name in ("chip", "profile", "fingerprint"):
        found, expected = first.content.get(name), getattr(header, name)
        if found != expected:
            raise JournalError(
                f"{path} is the journal of another {name}: {found!r}, not {expected!r}. Open the chip that it belongs "
                "to, as it was, or begin a new run in another folder"
            )


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
