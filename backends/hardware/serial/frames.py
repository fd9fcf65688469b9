"""Frames of ``docs/protocol.md``: header, payload and CRC, packed to bytes and found again in a stream of them."""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import final

from rpudriver.backends.hardware.serial import cobs

MAJOR, MINOR = 1, 1
ANSWER = 0x80  # flag of a reply
_HEADER = struct.Struct("<BBBBII")  # version, op, flags, status, session, seq
_CRC = struct.Struct("<I")
OVERHEAD = _HEADER.size + _CRC.size  # of a frame before stuffing
NUMBERS = 2**32 - 1  # sequence numbers go from 1 to this one, then from 1 again
LONGEST = 1 << 20  # bytes without a zero, after which a stream is no board's


def following(seq: int) -> int:
    """Return the sequence number after `seq` (0: none yet)."""
    return seq % NUMBERS + 1


@final
class Op(IntEnum):
    """What a frame asks for."""

    HELLO = 0x01
    STATUS = 0x02
    IDLE = 0x03
    ARM = 0x04
    RUN = 0x05
    COUNTERS = 0x06


@final
@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes
    ----------
    op : an `Op`, or whatever a board of another version says.
    flags : `ANSWER` in replies.
    status : 0, or an error in a reply.
    session, seq : see ``docs/protocol.md``.
    version : major version of the protocol.
    """

    op: int
    session: int
    seq: int
    payload: bytes = b""
    flags: int = 0
    status: int = 0
    version: int = MAJOR

    def body(self) -> bytes:
        """Return header and payload, what the CRC is of."""
        head = _HEADER.pack(self.version, self.op, self.flags, self.status, self.session, self.seq)
        return head + self.payload

    def crc(self) -> int:
        """Return the CRC-32 of the frame."""
        return zlib.crc32(self.body())

    def pack(self) -> bytes:
        """Return the frame as it goes on the wire, the closing zero included."""
        body = self.body()
        return cobs.encode(body + _CRC.pack(zlib.crc32(body))) + b"\0"

    def answers(self, request: "Frame") -> bool:
        """Tell whether this is a reply to `request`."""
        same = (self.op, self.session, self.seq) == (request.op, request.session, request.seq)
        return same and bool(self.flags & ANSWER)


def unpack(stuffed: bytes) -> Frame | None:
    """Return the frame that lies between two zeros of a stream, None where it is damaged or none at all."""
    data = cobs.decode(stuffed)
    if data is None or len(data) < OVERHEAD:
        return None
    body = data[: -_CRC.size]
    if _CRC.unpack(data[-_CRC.size :]) != (zlib.crc32(body),):
        return None
    version, op, flags, status, session, seq = _HEADER.unpack_from(body)
    return Frame(op, session, seq, body[_HEADER.size :], flags, status, version)


@final
class Splitter:
    """Cuts a stream at its zeros; keeps what has not ended yet."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def rest(self) -> bytes:
        """Bytes since the last zero: the beginning of a frame, or of nothing."""
        return self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return what ended in `data`, the zeros left out; empty frames are none."""
        pieces = (self._rest + data).split(b"\0")
        self._rest = pieces.pop()[-LONGEST:]
        return [piece for piece in pieces if piece]
