"""One owner at a time: a lock on the folder of a chip, which the kernel releases however its process ends."""

import contextlib
import fcntl
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import IO, Self, final

from rpudriver.errors import OwnerError


@final
class Ownership:
    """A chip that is ours until `release`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Own the chip whose state is in a folder, which is made where there is none.

        Raises
        ------
        OwnerError
            If another process owns it, or if the folder cannot be written.
        """
        path = folder / "owner"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise OwnerError(
                f"cannot lock the chip by {path}: {error.strerror}; set RPUDRIVER_STATE to a folder that you may write"
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read().strip() or "another process"
            file.close()
            raise OwnerError(f"chip {folder.name!r} is in use by {who}; end that first") from None
        us = f"process {os.getpid()} ({Path(sys.argv[0]).name}) since {datetime.now():%Y-%m-%d %H:%M:%S}\n"
        with contextlib.suppress(OSError):  # on a full disk nobody learns who we are; the lock holds
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), us.encode())
        return cls(file)

    def release(self) -> None:
        """Give the chip up; doing so twice is harmless."""
        self._file.close()
