"""IDX, the file format of MNIST: a magic number, big-endian sizes, then bytes; often gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rpudriver.errors import DataError

_UNSIGNED_BYTE = 0x08  # third byte of the magic number: the type of the values


def find_idx(folders: list[Path], name: str) -> Path:
    """Return the first of ``folder/name`` and ``folder/name.gz`` that exists.

    Raises
    ------
    DataError
        If none does; the message lists where it was looked for.
    """
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    places = ", ".join(str(folder) for folder in folders)
    raise DataError(f"no file {name} or {name}.gz in {places}; point --data or RPUDRIVER_DATA at its folder")


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Return the values of an IDX file of unsigned bytes.

    Parameters
    ----------
    dimensions : number of axes expected: 3 for images, 1 for labels.

    Raises
    ------
    DataError
        If the file is missing, not gzip though it is called so, of another kind, truncated, or too long.
    """
    raw = _read_bytes(path)
    header = 4 + 4 * dimensions
    magic = _UNSIGNED_BYTE << 8 | dimensions
    if len(raw) < header:
        raise DataError(f"{path} is truncated: {len(raw)} bytes, expected an IDX header of {header}; get it again")
    found = int.from_bytes(raw[:4], "big")
    if found != magic:
        raise DataError(
            f"{path} starts with {found:#010x}, expected {magic:#010x} (IDX, unsigned bytes, {dimensions} axes); "
            "is it another file under this name?"
        )
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    expected = header + math.prod(shape)
    if len(raw) != expected:
        what = "truncated" if len(raw) < expected else "too long"
        raise DataError(f"{path} is {what}: {len(raw)} bytes, expected {expected} for {shape}; get it again")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except OSError as error:  # BadGzipFile is one
        raise DataError(f"cannot read {path}: {error}; expected an IDX file") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged or truncated gzip file ({error}); get it again") from error
