"""One owner at a time: locks on a chip and on where it is, which the kernel releases however their process ends."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO, Self, final
from urllib.parse import quote

from rpudriver.errors import OwnerError


@final
class Ownership:
    """A chip that is ours until `release`."""

    def __init__(self) -> None:
        self._files: list[IO[str]] = []

    @classmethod
    def take(cls, folder: Path, places: Path, addresses: Iterable[str] = ()) -> Self:
        """Own a chip, and the ports or instruments that it is reached by: another name is not another chip.

        Parameters
        ----------
        folder : of the chip's state, named after it.
        places : folder of the locks of all addresses of this user.
        addresses : each of them always written the same way.

        Raises
        ------
        OwnerError
            If another process owns one of them, or if a folder cannot be written.
        """
        owner, chip = cls(), f"chip {folder.name!r}"
        try:
            owner._lock(folder / "owner", chip, "")
            for address in sorted(set(addresses)):
                owner._lock(places / quote(address, safe=""), address, f", with {chip}")
        except BaseException:
            owner.release()
            raise
        return owner

    def _lock(self, path: Path, what: str, note: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise OwnerError(
                f"cannot lock {what} by {path}: {error.strerror}; set RPUDRIVER_STATE to a folder that you may write"
            ) from None
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise OwnerError(f"{what} is in use by {who}; end that first") from None
        program = Path(sys.argv[0]).name
        us = f"process {os.getpid()} ({program}) since {datetime.now():%Y-%m-%d %H:%M:%S}{note}\n"
        with contextlib.suppress(OSError):  # on a full disk nobody learns who we are; the lock holds
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), us.encode())

    def release(self) -> None:
        """Give the chip up; doing so twice is harmless."""
        for file in self._files:
            file.close()
