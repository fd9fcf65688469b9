"""Operations as bytes, written out by hand: what tests of drivers send."""

import struct

import numpy as np

from rpudriver.backends.hardware import operations


def pulses(row: int, column: int, bl: int, up: bool = True, array: int = 0, kind: int = 2) -> bytes:
    """Return `bl` pulses on one device; kind 2 is the emulated chip's `update`."""
    slots = (2**bl - 1).to_bytes(-(-bl // 8), "little")
    sample = struct.pack("<H", bl) + b"\1\0" + slots + bytes([1, 0 if up else 1]) + slots
    body = operations.PULSE_HEAD.pack(array, kind, row, 1, column, 1, 1, 1) + sample
    return operations.OPERATION.pack(operations.PULSE, 0, len(body)) + body


def one_hot_read(row: int, rows: int, column: int, columns: int, code: int = 1, array: int = 0) -> bytes:
    """Return the read of one column after the other of a rectangle."""
    vectors = b"".join(struct.pack("<Hh", line, code) for line in range(columns))
    body = operations.READ_HEAD.pack(array, 0, row, rows, column, columns, columns) + vectors
    return operations.OPERATION.pack(operations.READ, operations.ONE_HOT, len(body)) + body


def read_back(records: bytes, rows: int, columns: int) -> np.ndarray:
    """Return the codes ``[rows, columns]`` of the record of `one_hot_read`."""
    assert len(records) == 1 + 2 * rows * columns
    return np.frombuffer(records[1:], "<i2").reshape(columns, rows).T.astype(np.int64)
