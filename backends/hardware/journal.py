"""The journal of a run on a chip: what was meant to be sent, before it is sent, and what came of it.

A killed run resumes from it: batches that are done are answered from the journal, the one in flight is settled with
the instrument, and where nobody can tell what became of it, it is marked uncertain and read back, never sent again.
There is one journal for a run, and one batch at most without an outcome.

Payloads, little-endian; batches are numbered from 0:

    1 OPEN       JSON: version, chip, fingerprint, profile, text, date
    2 INTENT     number u64, ticket 12 bytes, operations
    3 RESULT     number u64, tripped u8, records
    4 UNCERTAIN  number u64, reason (UTF-8)
    5 REREAD     number u64, what was read back of an uncertain batch
    6 NOTE       JSON: text, date and more, for people
"""

import json
import struct
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal, Self, final

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal_file import Record, RecordFile, scan
from rpudriver.errors import JournalError

VERSION = 1
Durability = Literal["process", "power"]

_NUMBER = struct.Struct("<Q")
_RESULT = struct.Struct("<QB")


@final
class Type(IntEnum):
    """What a record is."""

    OPEN = 1
    INTENT = 2
    RESULT = 3
    UNCERTAIN = 4
    REREAD = 5
    NOTE = 6


_TYPES = frozenset(Type)


@final
@dataclass(frozen=True)
class Header:
    """Whose journal it is.

    Attributes
    ----------
    chip : name of the chip.
    fingerprint : of the backend that writes it; batches of another cannot be replayed.
    profile : digest of the chip profile: what a code means.
    text : for people; need not be the same to resume.
    """

    chip: str
    fingerprint: str
    profile: str
    text: str = ""


@final
@dataclass(frozen=True)
class Entry:
    """A batch.

    Attributes
    ----------
    number : from 0.
    ticket, operations : what was to be sent.
    reply : None where none is known.
    uncertain : nobody can tell whether it was done; `reason` says why, `reread` is what was read back, if it was.
    """

    number: int
    ticket: Ticket
    operations: bytes
    reply: Reply | None = None
    uncertain: bool = False
    reason: str = ""
    reread: bytes | None = None


@final
@dataclass(frozen=True)
class Line:
    """A record for people and tests.

    Attributes
    ----------
    offset : of its first byte in the file.
    type : what it is.
    number : of its batch, None where it belongs to none.
    content : dict of OPEN and NOTE, (Ticket, operations) of INTENT, Reply of RESULT, str of UNCERTAIN, else bytes.
    """

    offset: int
    type: Type
    number: int | None
    content: Any


def lines(path: Path) -> Iterator[Line]:
    """Go through a journal without opening it for writing: that of a run that goes on may be read.

    Raises
    ------
    JournalError
        If a record is damaged.
    """
    for record in scan(path):
        yield _line(path, record)


def _line(path: Path, record: Record) -> Line:
    payload, at = record.payload, record.offset
    try:
        what = Type(record.type)
        if what in (Type.OPEN, Type.NOTE):
            return Line(at, what, None, json.loads(payload))
        (number,) = _NUMBER.unpack_from(payload)
        rest = payload[_NUMBER.size :]
        match what:
            case Type.INTENT:
                return Line(at, what, number, (Ticket.unpack(rest[: Ticket.SIZE]), rest[Ticket.SIZE :]))
            case Type.RESULT:
                return Line(at, what, number, Reply(rest[1:], bool(rest[0])))
            case Type.UNCERTAIN:
                return Line(at, what, number, rest.decode())
            case _:
                return Line(at, what, number, rest)
    except (ValueError, struct.error, IndexError) as error:
        raise JournalError(
            f"{path}: the record at byte {at} of type {record.type} has no meaning here ({error}); it was written by "
            "another version of rpudriver, which can read it"
        ) from error


@final
class Journal:
    """The journal of a run, open for writing; get one by `create` or `resume`.

    Whatever breaks off a call, an exception or a kill, the file stays whole and this object true to it: all that it
    knows is read from the file.
    """

    def __init__(self, file: RecordFile) -> None:
        self._file = file
        self._end = 0  # of the records that are known
        self._intents = array("Q")  # offset of each
        self._pending = self._uncertain = False  # the last batch has no outcome, an uncertain one

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
        return len(self._intents)

    @property
    def pending(self) -> Entry | None:
        """The batch whose outcome is not known yet, if there is one."""
        count = self.batches
        return self.lookup(count - 1) if self._pending else None

    def intent(self, number: int, ticket: Ticket, operations: bytes) -> None:
        """Note a batch before it is sent.

        Raises
        ------
        JournalError
            If it cannot be written, or if the batch before it has no outcome: do not send it.
        """
        self._append(Type.INTENT, _NUMBER.pack(number) + ticket.pack() + operations)

    def result(self, number: int, reply: Reply) -> None:
        """Note what came of the pending batch. Where that fails it stays pending, and can be settled later."""
        self._append(Type.RESULT, _RESULT.pack(number, reply.tripped) + reply.records)

    def uncertain(self, number: int, reason: str) -> None:
        """Note that nobody can tell whether the pending batch was done."""
        self._append(Type.UNCERTAIN, _NUMBER.pack(number) + reason.encode())

    def reread(self, number: int, codes: bytes) -> None:
        """Note what was read back after the last batch, which is uncertain; the last such note counts."""
        self._append(Type.REREAD, _NUMBER.pack(number) + codes)

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
                f"{self.path} holds the batches 0 to {len(self._intents) - 1}; there is no batch {number}"
            )
        at = self._intents[number]
        end = self._intents[number + 1] if number + 1 < len(self._intents) else self._end
        found: dict[Type, Any] = {}
        while at < end:
            record = self._file.read(at)
            line = _line(self.path, record)
            found[line.type], at = line.content, record.end
        ticket, operations = found[Type.INTENT]
        reason = found.get(Type.UNCERTAIN)
        return Entry(
            number, ticket, operations, found.get(Type.RESULT), reason is not None, reason or "", found.get(Type.REREAD)
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
        if self._file.size != self._end:
            for record in scan(self.path, self._end):
                problem = self._problem(record.type, record.payload)
                if problem:
                    raise JournalError(
                        f"{self.path} is damaged: the record at byte {record.offset}, of type {record.type}, "
                        f"{problem}; put a good copy in its place"
                    )
                self._take(record)

    def _mend(self) -> None:
        """Have the file end with a whole record that is known here."""
        if self._file.size != self._end:
            self._catch_up()
            self._file.cut(self._end)

    def _problem(self, what: int, payload: bytes) -> str | None:
        """Return why a record cannot come next."""
        count = len(self._intents)
        if what in (Type.OPEN, Type.NOTE):
            return None if (self._end == 0) == (what == Type.OPEN) else "is out of place: OPEN is first, and only once"
        if what not in _TYPES or len(payload) < _NUMBER.size:
            return "is not known to this version of rpudriver"
        (number,) = _NUMBER.unpack_from(payload)
        if number != (count if what == Type.INTENT else count - 1):
            return f"of batch {number} is out of order: {count} batches are known, numbered from 0"
        pending, uncertain = self._pending, self._uncertain
        if not (uncertain if what == Type.REREAD else not pending if what == Type.INTENT else pending):
            state = "no" if pending else "an uncertain" if uncertain else "its"
            return f"of batch {number} is out of order: the last batch has {state} outcome"
        return None

    def _take(self, record: Record) -> None:
        """Take in a record; doing so twice is harmless, and only `_end` says that it was done."""
        if record.type == Type.INTENT:
            (number,) = _NUMBER.unpack_from(record.payload)
            self._intents[number:] = array("Q", [record.offset])
            self._pending, self._uncertain = True, False
        elif record.type in (Type.RESULT, Type.UNCERTAIN):
            self._pending, self._uncertain = False, record.type == Type.UNCERTAIN
        self._end = record.end


def _check_header(path: Path, first: Line, header: Header) -> None:
    if first.type is not Type.OPEN or first.content.get("version") != VERSION:
        raise JournalError(
            f"{path} is not a journal of version {VERSION}; go on with the version of rpudriver that began it"
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
