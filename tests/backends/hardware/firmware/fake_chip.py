"""The other end of docs/emulator.md, without physics: remembers what arrives and answers H, Q and S."""

import contextlib
import socket
import struct
import threading
from pathlib import Path

import numpy as np


class FakeChip:
    """Currents are the sums of the volts of the vector, times `siemens`; the comparator says what `trips` holds."""

    def __init__(self, path: Path, name: str = "emulated-64", size: tuple[int, int, int] = (64, 64, 16)) -> None:
        self.path, self.who = path, struct.pack("<HHHH", *size, 0) + name.encode().ljust(16, b"\0")
        self.siemens, self.trips, self.messages = 1e-6, [], []  # type: ignore[var-annotated]
        self.gone, self.flowing = threading.Event(), threading.Event()
        self.flowing.set()  # cleared: nothing more is read from the board
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self._server.close()
        with contextlib.suppress(OSError, AttributeError):  # nobody has come, or has gone
            self._peer.shutdown(socket.SHUT_RDWR)

    def fired(self) -> list[tuple[int, int, int, int, bytes]]:
        """Return what was fired: array, width, gap, count, slots."""
        return [
            (array, *struct.unpack_from("<III", body), body[12:]) for kind, array, body in self.messages if kind == "F"
        ]

    def last(self) -> str:
        """Return the type of the last message that drives lines."""
        return next((kind for kind, _, _ in reversed(self.messages) if kind in "IRF"), "I")

    def _serve(self) -> None:
        try:
            self._peer, _ = self._server.accept()
            with self._peer:
                while self.flowing.wait() and self._one():
                    pass
        except OSError:
            pass
        self.gone.set()

    def _one(self) -> bool:
        head = self._take(8)
        if len(head) < 8:
            return False
        kind, array, size = chr(head[0]), *struct.unpack("<HI", head[2:])
        body = self._take(size)
        self.messages.append((kind, array, body))
        if kind == "H":
            self._peer.sendall(self.who)
        elif kind == "Q":
            self._peer.sendall(bytes([self.trips.pop(0) if self.trips else 0]))
        elif kind == "S":
            self._peer.sendall(self._currents(body))
        return True

    def _currents(self, body: bytes) -> bytes:
        transposed, _, _, _, rows, _, columns, _, _, vectors = struct.unpack_from("<BBHHHHHHHI", body)
        outputs = columns if transposed else rows
        volts = np.frombuffer(body, "<f4", offset=20).reshape(vectors, -1)
        return np.repeat(volts.sum(1, dtype=np.float64) * self.siemens, outputs).astype("<f4").tobytes()

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._peer.recv(size - len(data))):
            data += piece
        return data
