"""The frames of docs/protocol.md, written once more: the smallest thing that can talk to a board."""

import os
import select
import struct
import time
import zlib
from typing import NamedTuple

HELLO, STATUS, IDLE, ARM, RUN, COUNTERS = range(1, 7)
OK, E_VERSION, E_OP, E_SESSION, E_SEQ_GAP, E_SEQ_REUSE, E_NOT_ARMED, E_SAFE = range(8)
E_RANGE, E_CONFIG, E_LENGTH, E_COMPLIANCE, E_STORE = range(8, 13)
FRAME = 0xFF  # the operation of an error that is not of one


class Message(NamedTuple):
    """A frame without its CRC, which is that of what was received."""

    op: int
    flags: int
    status: int
    session: int
    seq: int
    payload: bytes

    @property
    def error(self) -> tuple[int, int, int, int, int, int]:
        """Status, operation, field, value, low, high."""
        return (self.status, *struct.unpack("<BBxxiii", self.payload))


def stuffed(data: bytes) -> bytes:
    out, at, data = bytearray(), 0, data + b"\0"
    while at < len(data):
        run = data.index(0, at) - at
        if run >= 254:
            out += b"\xff" + data[at : at + 254]
            at += 254
            if at == len(data) - 1:
                break
        else:
            out += bytes([run + 1]) + data[at : at + run]
            at += run + 1
    return bytes(out)


def unstuffed(data: bytes) -> bytes:
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        out += data[at + 1 : at + code]
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def frame(
    op: int, payload: bytes = b"", session: int = 0, seq: int = 0, version: int = 1, flags: int = 0, status: int = 0
) -> bytes:
    data = struct.pack("<BBBBII", version, op, flags, status, session, seq) + payload
    return stuffed(data + struct.pack("<I", zlib.crc32(data))) + b"\0"


def message(data: bytes) -> Message:
    """Take apart a frame without the zero at its end."""
    whole = unstuffed(data)
    assert zlib.crc32(whole[:-4]) == int.from_bytes(whole[-4:], "little")
    version, op, flags, status, session, seq = struct.unpack_from("<BBBBII", whole)
    assert version == 1
    return Message(op, flags, status, session, seq, whole[12:-4])


class Link:
    """Sends and receives on a terminal that is already raw."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._pending = b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.fd, data) :]

    def raw(self, timeout: float = 5.0) -> bytes | None:
        """Return the bytes of the next frame, without its zero; None where none comes."""
        end = time.monotonic() + timeout
        while True:
            piece, zero, rest = self._pending.partition(b"\0")
            if zero:
                self._pending = rest
                if piece:
                    return piece
            elif not select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            else:
                data = os.read(self.fd, 65536)
                if not data:
                    return None  # the board is gone
                self._pending += data

    def receive(self, timeout: float = 5.0) -> Message:
        data = self.raw(timeout)
        assert data is not None, "no reply"
        return message(data)

    def ask(self, op: int, payload: bytes = b"", session: int = 0, seq: int = 0, **header: int) -> Message:
        self.send(frame(op, payload, session, seq, **header))
        return self.receive()

    def silent(self) -> bool:
        return self.raw(0.05) is None
