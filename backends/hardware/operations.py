"""Operations and records as the bytes of ``docs/protocol.md``, taken apart: what drivers of instruments work with.

The hardware backend writes the same bytes (`rpudriver.backends.hardware.encoding`); a serial board reads them itself.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from rpudriver.keyed import arrays as keyed

PULSE, READ, WAIT = 0x10, 0x20, 0x30
FLIP, DRAWN = 1, 2  # flags of PULSE
TRANSPOSED, DIFFERENTIAL, ONE_HOT = 1, 2, 4  # flags of READ
TRIPPED = 1  # flag of a record

OPERATION = struct.Struct("<BBH")  # op, flags, size
PULSE_HEAD = struct.Struct("<BBHHHHHH")  # array, kind, row, rows, column, columns, samples, repeat
DRAWN_HEAD = struct.Struct("<QIIQ")  # seed, x_stream, d_stream, first
READ_HEAD = struct.Struct("<BBHHHHH")  # array, range, row, rows, column, columns, vectors
SECOND_HEAD = struct.Struct("<BxHH")  # array, row, column
WAIT_BODY = struct.Struct("<I")  # us

Bits = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int16]


@final
@dataclass(frozen=True)
class Rectangle:
    """Where an operation takes place on the chip."""

    array: int
    row: int
    rows: int
    column: int
    columns: int

    def __str__(self) -> str:
        rows, columns = self.row + self.rows - 1, self.column + self.columns - 1
        return f"array {self.array} rows {self.row}..{rows} columns {self.column}..{columns}"


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """One sample of pulse trains.

    Attributes
    ----------
    bl : bit length.
    x, d : bool arrays ``[columns, bl]`` and ``[rows, bl]``, the slots.
    x_negative, d_negative : bool arrays ``[columns]`` and ``[rows]``.
    """

    bl: int
    x: Bits
    d: Bits
    x_negative: Bits
    d_negative: Bits

    def counts(self, flip: bool) -> npt.NDArray[np.int64]:
        """Return the signed number of pulses that each device gets, ``[rows, columns]``."""
        seen = self.d.astype(np.int64) @ self.x.T.astype(np.int64)
        down = self.d_negative[:, None] ^ self.x_negative[None, :] ^ flip
        return np.where(down, -seen, seen)


@final
@dataclass(frozen=True, eq=False)
class PulseOperation:
    """Pulse trains on a rectangle; `kind` numbers the kinds of the profile in the order of their names."""

    where: Rectangle
    kind: int
    flip: bool
    samples: Sequence[Sample]
    repeat: int

    def counts(self) -> npt.NDArray[np.int64]:
        """Return the signed number of pulses that each device of the rectangle gets, ``[rows, columns]``."""
        total = np.zeros((self.where.rows, self.where.columns), np.int64)
        for sample in self.samples:
            total += sample.counts(self.flip)
        return total * self.repeat


@final
@dataclass(frozen=True, eq=False)
class ReadOperation:
    """Vectors read from a rectangle.

    Attributes
    ----------
    second : the rectangle whose current is subtracted, None where there is none.
    range : 0, or 1 for twice the full scale.
    codes : int16 array ``[vectors, inputs]``.
    """

    where: Rectangle
    second: Rectangle | None
    range: int
    transposed: bool
    codes: Codes

    @property
    def outputs(self) -> int:
        """How many outputs a vector has."""
        return self.where.columns if self.transposed else self.where.rows


@final
@dataclass(frozen=True)
class WaitOperation:
    """Chip time that passes."""

    us: int


Operation = PulseOperation | ReadOperation | WaitOperation


def decode(operations: bytes, input_bits: int) -> list[Operation]:
    """Return the operations of a batch; its bytes are our own, so they are right by construction.

    Parameters
    ----------
    input_bits : of the input converter: codes of up to 8 bits are bytes.
    """
    found: list[Operation] = []
    for op, flags, body in pieces(operations):
        if op == PULSE:
            found.append(_pulse(flags, body))
        elif op == READ:
            found.append(_read(flags, body, input_bits))
        else:
            found.append(WaitOperation(*WAIT_BODY.unpack(body)))
    return found


def pieces(operations: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Go through a batch: op, flags and body of each operation."""
    at = 0
    while at < len(operations):
        op, flags, size = OPERATION.unpack_from(operations, at)
        at += OPERATION.size
        yield op, flags, operations[at : at + size]
        at += size


def pulsed(operations: bytes) -> Iterator[Rectangle]:
    """Go through the rectangles that a batch pulses."""
    for op, _, body in pieces(operations):
        if op == PULSE:
            array, _, row, rows, column, columns, _, _ = PULSE_HEAD.unpack_from(body)
            yield Rectangle(array, row, rows, column, columns)


def _pulse(flags: int, body: bytes) -> PulseOperation:
    array, kind, row, rows, column, columns, samples, repeat = PULSE_HEAD.unpack_from(body)
    cursor, drawn = _Cursor(body, PULSE_HEAD.size), None
    if flags & DRAWN:
        drawn = DRAWN_HEAD.unpack(cursor.take(DRAWN_HEAD.size))
    trains = [_sample(cursor, b, rows, columns, drawn) for b in range(samples)]
    return PulseOperation(Rectangle(array, row, rows, column, columns), kind, bool(flags & FLIP), trains, repeat)


_Drawn = tuple[int, int, int, int]


def _sample(cursor: "_Cursor", b: int, rows: int, columns: int, drawn: _Drawn | None) -> Sample:
    (bl,) = struct.unpack("<H", cursor.take(2))
    sides = []
    for stream, lines in enumerate((columns, rows)):
        slots, negative = np.zeros((lines, bl), np.bool_), np.zeros(lines, np.bool_)
        if bl:
            fires = np.flatnonzero(cursor.bits(lines))
            negative[fires] = cursor.bits(len(fires))
            if drawn is None:
                slots[fires] = cursor.bits(len(fires) * bl).reshape(len(fires), bl)
            else:
                thresholds = np.frombuffer(cursor.take(4 * len(fires)), "<u4").astype(np.uint64) + np.uint64(1)
                slots[fires] = drawn_slots(drawn[0], drawn[1 + stream], drawn[3] + b, fires, thresholds, bl)
        sides += [slots, negative]
    x, x_negative, d, d_negative = sides
    return Sample(bl, x, d, x_negative, d_negative)


def drawn_slots(
    seed: int,
    stream: int,
    step: int,
    cells: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.uint64],
    bl: int,
) -> Bits:
    """Return the slots ``[cells, bl]`` of DRAWN trains, as ``docs/keyed-generator.md`` defines them."""
    words = -(-bl // 32)
    key = keyed.key_of_number(seed, stream, step)
    digits = keyed.draw(key, cells[:, None, None], np.arange(32 * words).reshape(words, 32))  # [cells, words, digits]
    bits = (digits[..., None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)  # [cells, words, digits, slots]
    weights = (np.uint64(1) << np.arange(31, -1, -1, dtype=np.uint64))[:, None]  # the first digit is the highest
    numbers = (bits * weights).sum(2, dtype=np.uint64).reshape(len(cells), 32 * words)
    slots: Bits = numbers[:, :bl] < thresholds[:, None]
    return slots


def _read(flags: int, body: bytes, input_bits: int) -> ReadOperation:
    array, scale, row, rows, column, columns, vectors = READ_HEAD.unpack_from(body)
    cursor, second = _Cursor(body, READ_HEAD.size), None
    if flags & DIFFERENTIAL:
        other, other_row, other_column = SECOND_HEAD.unpack(cursor.take(SECOND_HEAD.size))
        second = Rectangle(other, other_row, rows, other_column, columns)
    transposed = bool(flags & TRANSPOSED)
    inputs = rows if transposed else columns
    codes = np.zeros((vectors, inputs), np.int16)
    if flags & ONE_HOT:
        pairs = np.frombuffer(cursor.take(4 * vectors), "<i2").reshape(vectors, 2)
        codes[np.arange(vectors), pairs[:, 0].view(np.uint16)] = pairs[:, 1]
    else:
        kind = np.dtype("<i1") if input_bits <= 8 else np.dtype("<i2")
        codes[:] = np.frombuffer(cursor.take(kind.itemsize * vectors * inputs), kind).reshape(vectors, inputs)
    return ReadOperation(Rectangle(array, row, rows, column, columns), second, scale, transposed, codes)


class _Cursor:
    """Goes through bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def take(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def bits(self, count: int) -> Bits:
        packed = np.frombuffer(self.take(-(-count // 8)), np.uint8)
        return np.unpackbits(packed, count=count, bitorder="little").astype(np.bool_)


def record(codes: Codes | None = None, tripped: bool = False) -> bytes:
    """Return the record of an operation: of a read with its codes ``[vectors, outputs]``."""
    return bytes([TRIPPED if tripped else 0]) + (b"" if codes is None else codes.astype("<i2").tobytes())


def one_hot_codes(lines: int, code: int) -> Codes:
    """Return the vectors ``[lines, lines]`` that drive one line after the other."""
    return np.eye(lines, dtype=np.int16) * np.int16(code)
