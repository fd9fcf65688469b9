"""What the records of a journal say, and how they are read: by `Journal`, by people, by other programs.

Payloads, little-endian; batches are numbered from 0:

    1 OPEN       JSON: version, chip, fingerprint, profile, text, date
    2 INTENT     number u64, ticket 12 bytes, operations
    3 RESULT     number u64, tripped u8, records
    4 UNCERTAIN  number u64, reason (UTF-8)
    5 REREAD     number u64, what was read back of an uncertain batch
    6 NOTE       JSON: text, date and more, for people
    7 NOT_DONE   number u64
    8 AGAIN      number u64, ticket 12 bytes
    9 LEFT       number u64, the error that the program was told (UTF-8)

A batch that is known not to have been done (NOT_DONE) gets a new ticket (AGAIN) before it is sent; unless the program
went on after the error that broke it off (LEFT), whatever had become of it. 7 to 9 came with version 2; journals of
version 1 are read as well.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, final

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal_file import Record, scan
from rpudriver.errors import JournalError

VERSION = 2
READABLE = (1, VERSION)
NUMBER = struct.Struct("<Q")
RESULT = struct.Struct("<QB")


@final
class Type(IntEnum):
    """What a record is."""

    OPEN = 1
    INTENT = 2
    RESULT = 3
    UNCERTAIN = 4
    REREAD = 5
    NOTE = 6
    NOT_DONE = 7
    AGAIN = 8
    LEFT = 9


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
    ticket : what it was last to be sent under; None where it is known not to have been done, and cannot be any more
        under any number that it had.
    operations : what was to be sent.
    reply : None where none is known.
    uncertain : nobody can tell whether it was done; `reason` says why, `reread` is what was read back, if it was.
    left : the error that the program was told in its place before it went on; None where it got the reply.
    """

    number: int
    ticket: Ticket | None
    operations: bytes
    reply: Reply | None = None
    uncertain: bool = False
    reason: str = ""
    reread: bytes | None = None
    left: str | None = None

    @property
    def pending(self) -> bool:
        """Whether something is still to become of it."""
        return self.reply is None and not self.uncertain and self.left is None


@final
@dataclass(frozen=True)
class Line:
    """A record for people and tests.

    Attributes
    ----------
    offset : of its first byte in the file.
    type : what it is.
    number : of its batch, None where it belongs to none.
    content : dict of OPEN and NOTE, (Ticket, operations) of INTENT, Reply of RESULT, str of UNCERTAIN and LEFT,
        Ticket of AGAIN, None of NOT_DONE, bytes of REREAD.
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
        yield line_of(path, record)


def line_of(path: Path, record: Record) -> Line:
    """Return what a record says.

    Raises
    ------
    JournalError
        If that cannot be told.
    """
    payload, at = record.payload, record.offset
    try:
        what = Type(record.type)
        if what in (Type.OPEN, Type.NOTE):
            return Line(at, what, None, json.loads(payload))
        (number,) = NUMBER.unpack_from(payload)
        rest = payload[NUMBER.size :]
        match what:
            case Type.INTENT:
                return Line(at, what, number, (Ticket.unpack(rest[: Ticket.SIZE]), rest[Ticket.SIZE :]))
            case Type.RESULT:
                return Line(at, what, number, Reply(rest[1:], bool(rest[0])))
            case Type.UNCERTAIN | Type.LEFT:
                return Line(at, what, number, rest.decode())
            case Type.AGAIN:
                return Line(at, what, number, Ticket.unpack(rest))
            case Type.NOT_DONE:
                return Line(at, what, number, None)
            case _:
                return Line(at, what, number, rest)
    except (ValueError, struct.error, IndexError) as error:
        raise JournalError(
            f"{path}: the record at byte {at} of type {record.type} has no meaning here ({error}); it was written by "
            "another version of rpudriver, which can read it"
        ) from error
