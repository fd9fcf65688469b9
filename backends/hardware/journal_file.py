"""A file of checked records that only grows: what a journal is on disk, whatever its records mean.

Record: ``mark u8, type u8, check u16, length u32, payload, crc32 u32``, little-endian. `check` is the lower half of the
CRC-32 of the head with a zero in its place, so that a damaged length is told from a record that was cut short;
the CRC-32 at the end (zlib) is that of head and payload.
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

from rpudriver.errors import JournalError

MARK = 0xA5
HEAD = struct.Struct("<BBHI")  # mark, type, check, length
TAIL = struct.Struct("<I")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CHUNK = 1 << 16


class Record(NamedTuple):
    """A record as it lies in the file.

    Attributes
    ----------
    offset, end : of its first byte, and of the first byte after it.
    type : number of its type.
    payload : what it says.
    """

    offset: int
    end: int
    type: int
    payload: bytes


def pack(number: int, payload: bytes) -> bytes:
    """Return a record of a type as bytes."""
    whole = _head(number, len(payload)) + payload
    return whole + TAIL.pack(zlib.crc32(whole))


def _head(number: int, length: int) -> bytes:
    check = zlib.crc32(HEAD.pack(MARK, number, 0, length)) & 0xFFFF
    return HEAD.pack(MARK, number, check, length)


def scan(path: Path, start: int = 0) -> Iterator[Record]:
    """Go through the records of a file; it stops at half a record at the end, which a kill or a power cut leaves.

    Raises
    ------
    JournalError
        If a record is damaged, naming its offset.
    """
    with path.open("rb") as file:
        file.seek(start)
        while True:
            record = _next(file, path, start)
            if record is None:
                return
            yield record
            start = record.end


def _next(file: BinaryIO, path: Path, at: int) -> Record | None:
    """Return the record that begins at `at`, None where there is no whole one."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        if head in (b"", bytes(len(head))) or head[0] == MARK:
            return None
        raise _damaged(path, at)
    _, number, _, length = HEAD.unpack(head)
    if head != _head(number, length):
        if head[0] in (0, MARK) and _only_zeros(file):
            return None
        raise _damaged(path, at)
    body = file.read(length + TAIL.size)
    if len(body) < length + TAIL.size:
        return None
    payload, tail = body[:length], body[length:]
    if tail != TAIL.pack(zlib.crc32(payload, zlib.crc32(head))):
        if not any(tail) and _only_zeros(file):
            return None
        raise _damaged(path, at)
    return Record(at, at + HEAD.size + len(body), number, payload)


def _only_zeros(file: BinaryIO) -> bool:
    """Return whether nothing but zeros is left: a power cut can leave a file longer than what was written of it."""
    return all(chunk.count(0) == len(chunk) for chunk in iter(lambda: file.read(CHUNK), b""))


def _damaged(path: Path, at: int) -> JournalError:
    return JournalError(
        f"{path} is damaged at byte {at}: not a record of a journal. Nothing was changed; what is before that byte can "
        f"be read. Put a good copy in its place, or begin a new run in another folder"
    )


def refuse_existing(path: Path) -> None:
    """Raise `JournalError` where a new journal finds a file."""
    if path.exists():
        raise JournalError(f"{path} exists: a journal belongs to one run; resume it or choose another")


@final
class RecordFile:
    """The file, open for appending.

    Parameters
    ----------
    path : where it is.
    new : create it; else it must exist.
    power : have what is appended with `sync` on the disk before going on, so that it also outlasts a power cut.
        What was written outlasts a kill of the process in any case.
    """

    def __init__(self, path: Path, new: bool, power: bool) -> None:
        self.path, self._power = path, power
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
        try:
            if new:
                refuse_existing(path)
                path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, flags, 0o644)
            if new and power:
                _sync_folder(path.parent)
        except FileNotFoundError:
            raise JournalError(f"there is no journal {path} to resume; begin a new run") from None
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be opened: {error.strerror}") from error

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return os.lseek(self._fd, 0, os.SEEK_END)

    def append(self, number: int, payload: bytes, sync: bool = False) -> Record:
        """Write a record by one call of the system.

        Raises
        ------
        JournalError
            If it could not be written, or not be brought to the disk; the file is as before.
        """
        data, at = pack(number, payload), self.size
        try:
            written = os.write(self._fd, data)
            if written < len(data):  # the next byte tells why
                os.write(self._fd, data[written:])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync and self._power:
                os.fdatasync(self._fd)
        except OSError as error:
            self._take_back(at, error)
        return Record(at, at + len(data), number, payload)

    def _take_back(self, size: int, error: OSError) -> None:
        cure = "make room" if error.errno in FULL else "see to the disk"
        try:
            os.ftruncate(self._fd, size)
        except OSError as second:
            cure += f", and cut the file to {size} bytes ({second.strerror} when that was tried)"
        raise JournalError(
            f"the journal {self.path} cannot be written: {error.strerror}. Nothing was sent that it does not hold; "
            f"{cure}, then resume"
        ) from error

    def read(self, at: int) -> Record:
        """Return the record that begins at a byte."""
        with os.fdopen(os.dup(self._fd), "rb", buffering=0) as file:
            file.seek(at)
            record = _next(file, self.path, at)
        if record is None:
            raise _damaged(self.path, at)
        return record

    def cut(self, size: int) -> int:
        """Cut the file to its whole records; what is cut off is appended to ``<name>.torn`` first.

        Returns
        -------
        How many bytes were cut off.
        """
        torn = os.pread(self._fd, self.size - size, size)
        if torn:
            try:
                with Path(f"{self.path}.torn").open("ab") as keep:
                    keep.write(torn)
                    keep.flush()
                    os.fsync(keep.fileno())
                os.ftruncate(self._fd, size)
            except OSError as error:
                raise JournalError(
                    f"half a record at the end of {self.path} cannot be put aside: {error.strerror}; make room, then "
                    "resume"
                ) from error
        return len(torn)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sync_folder(folder: Path) -> None:
    """Bring a new file's name to the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
