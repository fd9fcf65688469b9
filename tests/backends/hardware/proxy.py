"""A bad cable: frames are dropped, damaged, doubled and held up on their way, each direction by its own dice."""

import heapq
import os
import random
import select
import threading
import time
import tty
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """Probabilities for each frame; what is held up for longer than a retry takes is overtaken by it."""

    drop: float = 0.03
    flip: float = 0.03
    double: float = 0.03
    delay: float = 0.03
    longest_s: float = 0.06


class Lane:
    """One direction."""

    def __init__(self, faults: Faults, seed: str) -> None:
        self.seen: Counter[str] = Counter()
        self.cut = False  # nothing goes through any more
        self._faults, self._dice, self._rest = faults, random.Random(seed), b""
        self._held: list[tuple[float, int, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Take bytes in; what comes after the last zero waits for the next."""
        *pieces, self._rest = (self._rest + data).split(b"\0")
        for piece in filter(None, pieces):
            self.seen["frames"] += 1
            for fault in self._faults_of():
                self.seen[fault] += 1
                if fault == "flip":
                    piece = self._flipped(piece)
                if fault in ("double", "pass", "flip"):
                    self._hold(piece, 0.0)
                if fault in ("double", "delay"):
                    self._hold(piece, self._dice.uniform(0.0, self._faults.longest_s))

    def due(self) -> bytes:
        """Return what is to go on now."""
        out = b""
        while self._held and self._held[0][0] <= time.monotonic():
            _, number, piece = heapq.heappop(self._held)
            self.seen["overtaken"] += any(other < number for _, other, _ in self._held)
            out += piece + b"\0"
        return out

    def wait(self) -> float:
        """Return the seconds until something is due."""
        return max(0.0, self._held[0][0] - time.monotonic()) if self._held else 0.05

    def _faults_of(self) -> list[str]:
        if self.cut:
            return ["cut"]
        die, f = self._dice.random(), self._faults
        for fault, chance in (("drop", f.drop), ("flip", f.flip), ("double", f.double), ("delay", f.delay)):
            if die < chance:
                return [fault]
            die -= chance
        return ["pass"]

    def _flipped(self, piece: bytes) -> bytes:
        at = self._dice.randrange(8 * len(piece))
        damaged = bytearray(piece)
        damaged[at // 8] ^= 1 << at % 8
        return bytes(damaged)

    def _hold(self, piece: bytes, seconds: float) -> None:
        self.seen["sent"] += 1
        heapq.heappush(self._held, (time.monotonic() + seconds, self.seen["sent"], piece))


class Proxy:
    """Sits between a host, which opens `port`, and the board at another pseudo-terminal."""

    def __init__(self, board: str, faults: Faults, seed: int) -> None:
        self._master, self._slave = os.openpty()
        self._board = os.open(board, os.O_RDWR | os.O_NOCTTY)
        for end in (self._slave, self._board):
            tty.setraw(end)
        for end in (self._master, self._board):
            os.set_blocking(end, False)
        self.port = os.ttyname(self._slave)
        self.down, self.up = Lane(faults, f"{seed} down"), Lane(faults, f"{seed} up")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for end in (self._master, self._slave, self._board):
            os.close(end)

    def _serve(self) -> None:
        lanes = {self._master: (self.down, self._board), self._board: (self.up, self._master)}
        while not self._stop.is_set():
            wait = min(self.down.wait(), self.up.wait())
            for end in select.select(list(lanes), [], [], wait)[0]:
                lanes[end][0].feed(os.read(end, 65536))
            for lane, out in lanes.values():
                self._send(out, lane.due())

    def _send(self, end: int, data: bytes) -> None:
        while data and not self._stop.is_set():
            if select.select([], [end], [], 0.02)[1]:
                data = data[os.write(end, data) :]


@contextmanager
def proxied(board: str, seed: int, faults: Faults | None = None) -> Iterator[Proxy]:
    proxy = Proxy(board, faults or Faults(), seed)
    try:
        yield proxy
    finally:
        proxy.close()
