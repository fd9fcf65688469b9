"""What a board says when it refuses, in words."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self, final

from rpudriver.errors import BoardError, NotArmedError


@final
class Status(IntEnum):
    """How a request fared."""

    OK = 0
    VERSION = 1
    OP = 2
    SESSION = 3
    SEQ_GAP = 4
    SEQ_REUSE = 5
    NOT_ARMED = 6
    SAFE = 7
    RANGE = 8
    CONFIG = 9
    LENGTH = 10
    COMPLIANCE = 11
    STORE = 12


@final
class Reason(IntEnum):
    """Why a board is not armed."""

    NONE = 0
    ASKED = 1
    WATCHDOG = 2
    COMPLIANCE = 3
    START = 4


REASONS = {
    Reason.NONE: "none",
    Reason.ASKED: "idled on request",
    Reason.WATCHDOG: "cut off by its watchdog, which heard nothing for too long",
    Reason.COMPLIANCE: "cut off by its compliance limit",
    Reason.START: "just started",
}

_MEANINGS = {
    Status.VERSION: "it speaks another major version of the protocol; build firmware of this version",
    Status.OP: "it does not know this request; its firmware is older than the profile assumes",
    Status.SESSION: "it has restarted; connect again",
    Status.SEQ_GAP: "another program has talked to it; close that one and connect again",
    Status.SEQ_REUSE: "another program has used this frame's number; close that one and connect again",
    Status.RANGE: "a value is beyond its limits",
    Status.CONFIG: "values contradict each other",
    Status.LENGTH: "the frame is too short, too long or not of whole operations",
    Status.STORE: "its non-volatile store failed; pulses would not be counted: have the board repaired",
}

_FIELDS = {
    0: "length of the payload, bytes",
    1: "operation",
    2: "array",
    3: "row + rows",
    4: "column + columns",
    5: "kind of pulse",
    6: "samples",
    7: "repeat",
    8: "code of a line's rail",
    9: "code across a selected device",
    10: "code across a half-selected device",
    11: "code of the gate",
    12: "width or gap, ns",
    13: "bit length",
    14: "direction (1 up, 2 down)",
    15: "duration, us",
    16: "vectors",
    17: "line",
    18: "code of an input",
    19: "range of the output converter",
    20: "watchdog, ms",
    21: "code of the compliance limit",
    22: "length of the reply, bytes",
    23: "capability (number of its bit)",
    24: "reserved bits",
    25: "number of the frame",
}


@final
@dataclass(frozen=True)
class Refusal:
    """The payload of an error.

    Attributes
    ----------
    operation : which one of the frame, or which kind of an ARM; 0xFF for the frame itself.
    field : number of what is wrong; 0 where the status says it, or the length.
    value, low, high : what was found, and what is allowed.
    """

    operation: int
    field: int
    value: int
    low: int
    high: int

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BBxxiii")

    @classmethod
    def unpack(cls, payload: bytes) -> Self | None:
        """Return what a reply says, None where it says nothing of the kind."""
        return cls(*cls._LAYOUT.unpack(payload)) if len(payload) == cls._LAYOUT.size else None

    def words(self, part: str) -> str:
        """Return what is wrong, and where; `part` is what `operation` numbers."""
        where = "" if self.operation == 0xFF else f"{part} {self.operation}: "
        field = _FIELDS.get(self.field, f"field {self.field}")
        return f"{where}{field} = {self.value}, allowed is {self.low} to {self.high}"


def reason_of(payload: bytes) -> int:
    """Return the reason that comes with `Status.SAFE`."""
    refusal = Refusal.unpack(payload)
    return Reason.NONE if refusal is None else refusal.value


def reason_words(reason: int) -> str:
    """Return why a board is not armed."""
    return REASONS[Reason(reason)] if reason in REASONS else f"reason {reason}"


def error(doing: str, status: int, payload: bytes, part: str = "operation") -> BoardError | NotArmedError:
    """Return the error for a reply that refuses; `doing` says what was asked, `part` what it consists of."""
    if status in (Status.SAFE, Status.NOT_ARMED):
        why = reason_words(reason_of(payload))
        return NotArmedError(f"{doing} was refused, nothing was done: the board is not armed ({why}); arm it again")
    refusal = Refusal.unpack(payload)
    meaning = _MEANINGS[Status(status)] if status in _MEANINGS else f"error {status}, unknown to this version"
    detail = ""
    if refusal is not None and (refusal.field != 0 or status == Status.LENGTH):
        detail = f" ({refusal.words(part)})"
    return BoardError(f"{doing} was refused by the board, nothing was done: {meaning}{detail}")
