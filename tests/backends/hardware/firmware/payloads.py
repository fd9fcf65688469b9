"""Payloads of ARM and RUN, field by field, so that a test can set each to what no driver would send."""

import struct
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

PULSE, READ, WAIT = 0x10, 0x20, 0x30
FLIP, DRAWN = 1, 2
TRANSPOSED, DIFFERENTIAL, ONE_HOT = 1, 2, 4


@dataclass(frozen=True)
class Kind:
    """One kind of pulse of ARM."""

    up: tuple[int, int, int, int] = (675, 0, -675, 0)
    down: tuple[int, int, int, int] = (-650, 0, 650, 0)
    gate: int = 0
    ways: int = 3
    pad: int = 0
    width_ns: int = 2500
    gap_ns: int = 100

    def pack(self) -> bytes:
        return struct.pack("<8hhBBII", *self.up, *self.down, self.gate, self.ways, self.pad, self.width_ns, self.gap_ns)


@dataclass(frozen=True)
class Arm:
    """The payload of ARM."""

    watchdog_ms: int = 5000
    ranges: int = 0
    max_input: int = 63
    max_bl: int = 1024
    compliance: int = 20000
    read_us: int = 1
    max_run_us: int = 200000
    kinds: tuple[Kind, ...] = field(default=(Kind(),))

    def pack(self) -> bytes:
        head = (self.watchdog_ms, len(self.kinds), self.ranges, self.max_input, self.max_bl, self.compliance)
        kinds = b"".join(kind.pack() for kind in self.kinds)
        return struct.pack("<HBBhHHHI", *head, self.read_us, self.max_run_us) + kinds

    def with_kind(self, **changes: object) -> "Arm":
        return replace(self, kinds=(replace(self.kinds[0], **changes),))  # type: ignore[arg-type]


def bits(values: npt.ArrayLike) -> bytes:
    return np.packbits(np.asarray(values, np.bool_).reshape(-1), bitorder="little").tobytes()


def operation(op: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("<BBH", op, flags, len(body)) + body


def side(slots: npt.NDArray[np.bool_], negative: npt.NDArray[np.bool_]) -> bytes:
    """Return a side ``[lines, bl]`` of a sample; lines that have no slot do not fire."""
    fires = slots.any(1)
    return bits(fires) + bits(negative[fires]) + bits(slots[fires])


def sample(
    x: npt.NDArray[np.bool_], d: npt.NDArray[np.bool_], x_negative: object = None, d_negative: object = None
) -> bytes:
    """Return a sample: slots ``[columns, bl]`` and ``[rows, bl]``, signs ``[columns]`` and ``[rows]``."""
    signs = [np.zeros(len(s), np.bool_) if n is None else np.asarray(n) for s, n in ((x, x_negative), (d, d_negative))]
    return struct.pack("<H", x.shape[1]) + side(x, signs[0]) + side(d, signs[1])


def pulse(
    samples: bytes,
    array: int = 0,
    kind: int = 0,
    row: int = 0,
    rows: int = 1,
    column: int = 0,
    columns: int = 1,
    count: int = 1,
    repeat: int = 1,
    flags: int = 0,
    drawn: bytes = b"",
) -> bytes:
    head = struct.pack("<BBHHHHHH", array, kind, row, rows, column, columns, count, repeat)
    return operation(PULSE, head + drawn + samples, flags)


def one(bl: int = 1) -> bytes:
    """Return a sample that fires one device in all of `bl` slots."""
    return sample(np.ones((1, bl), np.bool_), np.ones((1, bl), np.bool_))


def read(
    codes: bytes,
    array: int = 0,
    scale: int = 0,
    row: int = 0,
    rows: int = 1,
    column: int = 0,
    columns: int = 1,
    vectors: int = 1,
    flags: int = 0,
    second: bytes = b"",
) -> bytes:
    return operation(
        READ, struct.pack("<BBHHHHH", array, scale, row, rows, column, columns, vectors) + second + codes, flags
    )


def wait(us: int) -> bytes:
    return operation(WAIT, struct.pack("<I", us))
