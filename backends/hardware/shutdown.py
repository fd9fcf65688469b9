"""Outputs idle on every way out that a process can still act on; the watchdog of a board does the rest.

A default SIGTERM runs neither ``finally`` nor ``atexit``: it is turned into `SystemExit`, unless somebody handles it.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from types import FrameType
from typing import Protocol


class Closable(Protocol):
    """What is to be closed."""

    def close(self) -> None:
        """Put outputs at rest and let go; closing twice is harmless."""


_open: "weakref.WeakSet[Closable]" = weakref.WeakSet()
_owner = os.getpid()


def register(chip: Closable) -> None:
    """Close a chip when the process ends by itself, by an exception, or by SIGINT or SIGTERM."""
    global _owner
    _owner = os.getpid()
    _open.add(chip)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


@atexit.register
def _close_all() -> None:
    if os.getpid() == _owner:  # a forked child is to leave its parent's chip alone
        for chip in list(_open):
            with contextlib.suppress(Exception):  # the next one has to be closed as well
                chip.close()
