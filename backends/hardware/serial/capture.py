"""A record of what went over the wire: one line for every write and read, for people and for `replay_capture`.

# rpudriver wire capture 1: /dev/ttyACM0
0.000012 > 00010c...      seconds, direction (> to the board, < from it), bytes in hexadecimal
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, final

from rpudriver.backends.hardware.serial import frames
from rpudriver.backends.hardware.serial.frames import ANSWER, Frame, Op, Splitter
from rpudriver.backends.hardware.serial.refusals import Status
from rpudriver.errors import DataError

_log = logging.getLogger("rpudriver")
TITLE = "# rpudriver wire capture 1: "
SENT, RECEIVED = ">", "<"
_NAMES = {op.value: op.name for op in Op}
_STATUSES = {status.value: f"E_{status.name}" if status else "ok" for status in Status}


@final
class Capture:
    """Writes a record; a file that cannot be written ends the record, never the work."""

    def __init__(self, path: Path, port: str) -> None:
        """Begin a record; a file that is there is replaced.

        Raises
        ------
        DataError
            If the file cannot be made.
        """
        self._path, self._start = path, time.monotonic()
        try:
            self._file: IO[str] | None = path.open("w", buffering=1)
        except OSError as error:
            raise DataError(f"no wire capture in {path}: {error.strerror}; choose another file") from error
        self._write(f"{TITLE}{port}\n")

    def note(self, direction: str, data: bytes) -> None:
        """Add what was sent or received."""
        self._write(f"{time.monotonic() - self._start:.6f} {direction} {data.hex()}\n")

    def close(self) -> None:
        """End the record."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
        except OSError as error:
            _log.warning("the wire capture in %s ends here: %s", self._path, error.strerror)
            file, self._file = self._file, None
            _close_quietly(file)


def _close_quietly(file: IO[str]) -> None:
    with contextlib.suppress(OSError):  # of what could not be written a moment ago
        file.close()


def read_capture(path: Path) -> Iterator[tuple[float, str, bytes]]:
    """Go through a record: seconds, direction and bytes between two zeros.

    Raises
    ------
    DataError
        If the file is no record or a line is damaged.
    """
    splitters = {SENT: Splitter(), RECEIVED: Splitter()}
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a wire capture: {error}") from error
    if not lines or not lines[0].startswith(TITLE):
        raise DataError(f"{path} is no wire capture: its first line must begin with {TITLE!r}")
    for number, line in enumerate(lines[1:], start=2):
        try:
            seconds, direction, data = line.split(" ")
            pieces = splitters[direction].feed(bytes.fromhex(data))
            at = float(seconds)
        except (ValueError, KeyError) as error:
            raise DataError(f"{path}, line {number}: not 'seconds > hexadecimal bytes': {line[:60]!r}") from error
        for piece in pieces:
            yield at, direction, piece


def describe_capture(path: Path) -> Iterator[str]:
    """Return the frames of a record as lines that a person can read."""
    for seconds, direction, piece in read_capture(path):
        yield f"{seconds:12.6f} {direction} {describe(frames.unpack(piece), piece)}"


def describe(frame: Frame | None, piece: bytes) -> str:
    """Return a frame in words; `piece` is what it was found in."""
    if frame is None:
        return f"damaged, {len(piece)} bytes: {piece[:24].hex(' ')}" + (" ..." if len(piece) > 24 else "")
    name = _NAMES.get(frame.op, f"op 0x{frame.op:02x}")
    words = [f"{name:8s} session {frame.session:08x} seq {frame.seq:10d} {len(frame.payload):6d} bytes"]
    if frame.flags & ANSWER:
        words.append(_STATUSES.get(frame.status, f"error {frame.status}"))
    return "  ".join(words)
