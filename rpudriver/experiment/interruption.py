"""Ctrl-C and SIGTERM: noted at once, acted upon after the mini-batch."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 - it is a request, not an error
    """A run that stopped because it was asked to; everything it needs to go on is saved."""

    def __init__(self, number: int, checkpoint: str) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}; saved {checkpoint}")
        self.number, self.checkpoint = number, checkpoint

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, str]]:
        return Interrupted, (self.number, self.checkpoint)  # it comes out of worker processes

    @property
    def exit_code(self) -> int:
        """What a shell expects: 128 plus the signal's number."""
        return 128 + self.number


class SignalWatch:
    """A context in which the first SIGINT or SIGTERM is only noted in `number`; a second one ends the process.

    It does so by an exception, also where SIGTERM has its default, which would leave a chip as it is. In threads other
    than the main one, where Python has no signals, all this does nothing.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for known, handler in self._before.items():
            signal.signal(known, _leave if handler is signal.SIG_DFL else handler)

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
