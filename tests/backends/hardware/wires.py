"""Both ends of a pseudo-terminal, and what may sit at the far one."""

import contextlib
import os
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.backends.hardware.board_model import BoardModel


class Served:
    """A pseudo-terminal whose far end a thread serves: `port` is the near one."""

    def __init__(self, work: Callable[[bytes], bytes]) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port, self._work = os.ttyname(self._slave), work
        self._open, self._closing = [self.master, self._slave], threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Send to the near end; what nobody takes before the end is lost."""
        while data and not self._stop.is_set():
            if select.select([], [self.master], [], 0.02)[1]:
                with contextlib.suppress(BlockingIOError):  # another thread has filled it since
                    data = data[os.write(self.master, data) :]

    def stop(self) -> None:
        """Let the far end fall silent."""
        self._stop.set()
        self._thread.join()

    def unplug(self) -> None:
        """Take the far end away."""
        self.stop()
        with self._closing:
            ends, self._open = self._open, []
        for end in ends:
            os.close(end)

    def _serve(self) -> None:
        while not self._stop.is_set():
            if select.select([self.master], [], [], 0.02)[0]:
                self.send(self._work(os.read(self.master, 65536)))


@contextmanager
def served(work: Callable[[bytes], bytes]) -> Iterator[Served]:
    """Serve whatever `work` makes of what comes."""
    end = Served(work)
    try:
        yield end
    finally:
        end.unplug()


def board_work(board: BoardModel) -> Callable[[bytes], bytes]:
    """Return what makes replies of a board out of pieces of a stream."""
    rest = b""

    def work(data: bytes) -> bytes:
        nonlocal rest
        *pieces, rest = (rest + data).split(b"\0")
        return b"".join(board.receive(piece) or b"" for piece in pieces if piece)

    return work


T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises; where it does not end in time, fail and leave it behind."""
    found: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:  # of the call, for the test
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"no end within {seconds:g} s"
    if raised:
        raise raised[0]
    return found[0]


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for something to come true; tell whether it did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
