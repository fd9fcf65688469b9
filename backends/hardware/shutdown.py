"""Outputs idle on every way out that a process can still act on; the watchdog of a board does the rest.

A default SIGTERM or SIGHUP runs neither ``finally`` nor ``atexit``: it is turned into `SystemExit`, unless somebody
handles it. Handlers can only be set in the main thread, so that is where a chip has to be opened.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Protocol

ENDING = (signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal or the connection to it is gone


class Closable(Protocol):
    """What is to be closed."""

    def close(self) -> None:
        """Put outputs at rest and let go; closing twice is harmless."""


_open: set[Closable] = set()  # held: a chip that nobody knows any more must not go away armed
_owner = os.getpid()


def register(chip: Closable) -> None:
    """Close a chip when the process ends by itself, by an exception, or by SIGINT, SIGTERM or SIGHUP."""
    global _owner
    _owner = os.getpid()
    _open.add(chip)
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _leave)


def forget(chip: Closable) -> None:
    """Leave a chip alone that is closed; doing so twice is harmless."""
    _open.discard(chip)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


@atexit.register
def _close_all() -> None:
    if os.getpid() == _owner:  # a forked child is to leave its parent's chip alone
        for chip in list(_open):
            with contextlib.suppress(Exception):  # the next one has to be closed as well
                chip.close()
