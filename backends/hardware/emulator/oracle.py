"""Looking into an emulated chip, for tests: a connection of its own."""

import socket
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from rpudriver.backends.hardware.emulator.server import HEAD

ANSWER_S = 60.0


@final
class ChipOracle:
    """The true state of an emulated chip."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_S)
        self._socket.connect(str(path))

    def weights(self, array: int) -> npt.NDArray[np.float32]:
        """Return the true weights ``[rows, columns]`` of a physical array."""
        self._socket.sendall(HEAD.pack(ord("O"), array, 0))
        rows, columns = self._shape
        data = bytearray()
        while len(data) < 4 * rows * columns:
            data += self._socket.recv(1 << 16)
        return np.frombuffer(bytes(data), "<f4").reshape(self._shape)

    def set_weights(self, array: int, weights: npt.ArrayLike) -> None:
        """Put devices somewhere, within their bounds."""
        body = np.broadcast_to(np.asarray(weights, "<f4"), self._shape).tobytes()
        self._socket.sendall(HEAD.pack(ord("P"), array, len(body)) + body)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
