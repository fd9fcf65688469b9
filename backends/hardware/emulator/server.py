"""The process of the emulated chip: messages of ``docs/emulator.md`` on a Unix socket."""

import math
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import final

import numpy as np

from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.rails import Rails

HEAD = struct.Struct("<BxHI")  # type, array, size
_RAILS = struct.Struct("<6f")
_FIRE = struct.Struct("<III")  # width_ns, gap_ns, count
_SENSE = struct.Struct("<BBHHHHHHHI")
_HELLO = struct.Struct("<HHHxx16s")
LARGEST = 1 << 24  # a message; more is not one


@final
class ChipServer:
    """Serves a chip on a socket; several connections may look at it, one of them being the firmware's."""

    def __init__(self, chip: EmulatedChip, path: Path, lock: AbstractContextManager[object] | None = None) -> None:
        self._chip, self._selector = chip, selectors.DefaultSelector()
        self._lock = lock or nullcontext()  # where others use the chip as well
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._received: dict[socket.socket, bytearray] = {}
        self._does: dict[int, Callable[[int, bytes], bytes]] = {
            ord("I"): self._idle,
            ord("R"): self._rails,
            ord("F"): self._fire,
            ord("W"): self._idle,
            ord("Q"): self._query,
            ord("S"): self._sense,
            ord("H"): self._hello,
            ord("O"): self._oracle,
            ord("P"): self._put,
        }

    def serve(self) -> None:
        """Answer until the process ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._socket:
                    connection, _ = self._socket.accept()
                    self._received[connection] = bytearray()
                    self._selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self._hear(key.fileobj)

    def _hear(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 18)
        except OSError:
            data = b""
        received = self._received[connection]
        received += data
        try:
            with self._lock:
                answer = self._answer(received)
            if answer:
                connection.sendall(answer)
        except (ValueError, struct.error, IndexError, OSError):  # not a message of ours, or nobody to answer
            data = b""
        if not data:  # the firmware has gone: its lines are at rest
            with self._lock:
                self._chip.settle()
            self._selector.unregister(connection)
            del self._received[connection]
            connection.close()

    def _answer(self, received: bytearray) -> bytes:
        """Do the whole messages that have come, and return what they are answered."""
        at, answers = 0, []
        while len(received) - at >= HEAD.size:
            what, array, size = HEAD.unpack_from(received, at)
            if size > LARGEST or what not in self._does or array >= self._chip.profile.arrays:
                raise ValueError(f"no message: type {what}, array {array}, size {size}")
            if len(received) - at < HEAD.size + size:
                break
            at += HEAD.size
            answers.append(self._does[what](array, bytes(received[at : at + size])))
            at += size
        del received[:at]
        return b"".join(answers)

    def _idle(self, array: int, body: bytes) -> bytes:
        return b""  # lines are at rest between two fires, and time does nothing to these devices

    def _rails(self, array: int, body: bytes) -> bytes:
        rails = Rails(*_RAILS.unpack(body))
        if math.isnan(rails.row_rest) and math.isnan(rails.column_rest):
            rails = rails._replace(row_rest=0.0, column_rest=0.0, floating=True)
        self._chip.set_rails(array, rails)
        return b""

    def _fire(self, array: int, body: bytes) -> bytes:
        width, _, count = _FIRE.unpack_from(body)
        rows, columns = -(-self._chip.profile.rows // 8), -(-self._chip.profile.columns // 8)
        masks = np.frombuffer(body, np.uint8, offset=_FIRE.size).reshape(count, rows + columns)
        self._chip.fire(array, width, masks[:, :rows], masks[:, rows:])
        return b""

    def _query(self, array: int, body: bytes) -> bytes:
        return bytes([self._chip.tripped()])

    def _sense(self, array: int, body: bytes) -> bytes:
        transposed, differential, second, row, rows, column, columns, row2, column2, vectors = _SENSE.unpack_from(body)
        volts = np.frombuffer(body, "<f4", offset=_SENSE.size).reshape(vectors, rows if transposed else columns)
        parts = (
            slice(row, row + rows),
            slice(column, column + columns),
            slice(row2, row2 + rows),
            slice(column2, column2 + columns),
        )
        other = second if differential else None
        return self._chip.sense(array, other, parts, volts, bool(transposed)).astype("<f4").tobytes()

    def _hello(self, array: int, body: bytes) -> bytes:
        profile = self._chip.profile
        return _HELLO.pack(profile.rows, profile.columns, profile.arrays, profile.chip.encode())

    def _oracle(self, array: int, body: bytes) -> bytes:
        return self._chip.weights(array).astype("<f4").tobytes()

    def _put(self, array: int, body: bytes) -> bytes:
        shape = self._chip.profile.rows, self._chip.profile.columns
        self._chip.set_weights(array, np.frombuffer(body, "<f4").reshape(shape))
        return b""
