"""A board as ``docs/protocol.md`` has it, in plain Python that shares no code with driver or firmware.

Its devices count: the value of one is its pulses up minus those down, a read multiplies by that. So whatever is done
twice, or not at all, shows.
"""

import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from rpudriver.backends.hardware import operations
from rpudriver.backends.hardware.operations import PulseOperation, ReadOperation

HEADER = struct.Struct("<BBBBII")
HELLO, STATUS, IDLE, ARM, RUN, COUNTERS = range(1, 7)
OK, E_VERSION, E_OP, E_SESSION, E_SEQ_GAP, E_SEQ_REUSE, E_NOT_ARMED, E_SAFE, E_RANGE, E_CONFIG, E_LENGTH = range(11)
E_COMPLIANCE = 11
IDLED, ARMED, SAFE = range(3)


def stuff(data: bytes) -> bytes:
    """COBS, block by block."""
    out, (*pieces, last) = b"", data.split(b"\0")
    for piece in pieces:
        out += b"".join(b"\xff" + piece[at : at + 254] for at in range(0, len(piece) - 253, 254))
        tail = piece[len(piece) // 254 * 254 :]
        out += bytes([len(tail) + 1]) + tail
    for at in range(0, max(1, len(last)), 254):
        out += bytes([len(last[at : at + 254]) + 1]) + last[at : at + 254]
    return out


def unstuff(data: bytes) -> bytes | None:
    out, at = bytearray(), 0
    while at < len(data):
        run = data[at]
        block = data[at + 1 : at + run]
        if run == 0 or len(block) != run - 1 or 0 in block:
            return None
        out += block
        at += run
        if run < 255 and at < len(data):
            out.append(0)
    return bytes(out)


class RefusedError(Exception):
    """A reply that is an error."""

    def __init__(self, status: int, number: int = 0, value: int = 0, low: int = 0, high: int = 0, at: int = 0xFF):
        self.status, self.payload = status, struct.pack("<BBxxiii", at, number, value, low, high)


@dataclass
class BoardModel:
    """What a test may set, and what it may look at."""

    boot: int = 0x1234ABCD
    chip: bytes = b"emulated-64"
    rows: int = 64
    columns: int = 64
    arrays: int = 16
    input_bits: int = 7
    output_bits: int = 9
    capabilities: int = 0b0111
    major: int = 1
    limits: dict[str, int] = field(default_factory=dict)  # other values for some of `LIMITS`
    trip_at: int | None = None  # operation of the next RUN that trips
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.last_seq = self.last_crc = self.pulses = self.limits_crc = self.done = 0
        self.kept, self.heard = b"", self.clock()
        self._state, self._reason, self._armed = IDLED, 4, (0, 0, 0, 0)
        self.weights = np.zeros((self.arrays, self.rows, self.columns), np.int64)
        self.allowed = LIMITS | self.limits

    @property
    def state(self) -> tuple[int, int]:
        """State and reason, now."""
        if self._state == ARMED and self.clock() - self.heard > self._armed[0] / 1e3:
            self._state, self._reason, self.limits_crc = SAFE, 2, 0
        return self._state, self._reason

    def receive(self, stuffed: bytes) -> bytes | None:
        """Return the reply to what stood between two zeros, None where there is none."""
        data = unstuff(stuffed)
        if data is None or len(data) < 16 or zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
            return None
        version, op, flags, _, session, seq = HEADER.unpack_from(data)
        if flags & 0x80:
            return None
        try:
            status, payload = self._answer(version, op, session, seq, data[12:-4], zlib.crc32(data[:-4]))
        except RefusedError as refused:
            status, payload = refused.status, refused.payload
        if payload is None:
            return self.kept
        body = HEADER.pack(self.major, op, 0x80, status, session, seq) + payload
        reply = stuff(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"
        if op in (ARM, RUN) and status in (OK, E_COMPLIANCE):
            self.kept = reply
        return reply

    def _answer(
        self, version: int, op: int, session: int, seq: int, payload: bytes, crc: int
    ) -> tuple[int, bytes | None]:
        if op == HELLO:
            return OK, self._hello(payload)
        if op == IDLE:
            self._state, self._reason, self.limits_crc = IDLED, 1, 0
            return OK, b""
        if version != self.major:
            raise RefusedError(E_VERSION)
        if session != self.boot:
            raise RefusedError(E_SESSION)
        state, reason = self.state
        self.heard = self.clock()
        if op not in (ARM, RUN):
            raise RefusedError(E_OP)
        following = self.last_seq % (2**32 - 1) + 1
        if seq == self.last_seq:
            if crc != self.last_crc:
                raise RefusedError(E_SEQ_REUSE)
            return OK, None
        if seq != following:
            raise RefusedError(E_SEQ_GAP)
        if op == RUN and state != ARMED:
            raise RefusedError(E_SAFE if state == SAFE else E_NOT_ARMED, value=reason)
        status, reply = (OK, self._arm(payload)) if op == ARM else self._run(payload)
        self.last_seq, self.last_crc = seq, crc
        return status, reply

    def _hello(self, payload: bytes) -> bytes:
        state, reason = self.state
        nonce = payload[4:8]
        a = self.allowed
        return (
            nonce
            + bytes([self.major, 0, state, reason])
            + struct.pack("<IIII", self.boot, self.last_seq, self.last_crc, self.limits_crc)
            + b"model\0\0\0"
            + self.chip.ljust(16, b"\0")
            + struct.pack("<HHHBB", self.arrays, self.rows, self.columns, self.input_bits, self.output_bits)
            + struct.pack("<III", self.capabilities, a["request"], a["reply"])
            + struct.pack("<hhhhhH", a["line"], a["cell"], a["half"], a["gate"], a["input"], a["compliance"])
            + struct.pack("<IIIHHI", a["shortest"], a["width"], a["gap"], a["bl"], a["watchdog"], a["run"])
            + struct.pack("<Q", self.pulses)
        )

    def _arm(self, payload: bytes) -> bytes:
        watchdog, kinds, _, most_input, bl, compliance, _, run = struct.unpack_from("<HBBhHHHI", payload)
        if len(payload) != 16 + 28 * kinds:
            raise RefusedError(E_LENGTH)
        fields = (20, watchdog, "watchdog"), (13, bl, "bl"), (21, compliance, "compliance"), (15, run, "run")
        for number, value, most in fields:
            if not 0 < value <= self.allowed[most]:
                raise RefusedError(E_RANGE, number, value, 1, self.allowed[most])
        for kind in range(kinds):
            rails = np.array(struct.unpack_from("<8h", payload, 16 + 28 * kind)).reshape(2, 4)
            if abs(rails).max() > self.allowed["line"]:
                raise RefusedError(E_RANGE, 8, int(abs(rails).max()), 0, self.allowed["line"])
        self._state, self._reason, self._armed = ARMED, 0, (watchdog, kinds, most_input, bl)
        self.limits_crc = zlib.crc32(payload)
        return self.limits_crc.to_bytes(4, "little")

    def _run(self, payload: bytes) -> tuple[int, bytes]:
        for at, (op, _, body) in enumerate(operations.pieces(payload)):
            self._check(at, op, body)
        records = []
        for at, operation in enumerate(operations.decode(payload, self.input_bits)):
            tripped = at == self.trip_at
            records.append(self._do(operation, tripped))
            if tripped:
                self.trip_at, self._state, self._reason = None, SAFE, 3
                return E_COMPLIANCE, bytes([at + 1]) + b"".join(records)
        self.done += 1
        return OK, b"".join(records)

    def _check(self, at: int, op: int, body: bytes) -> None:
        if op == operations.WAIT:
            return
        if op not in (operations.PULSE, operations.READ):
            raise RefusedError(E_RANGE, 1, op, 16, 48, at)
        array, kind, row, rows, column, columns = struct.unpack_from("<BBHHHH", body)
        bounds = [(2, array, 0, self.arrays - 1), (3, row + rows, 1, self.rows), (4, column + columns, 1, self.columns)]
        if op == operations.PULSE:
            bounds.append((5, kind, 0, self._armed[1] - 1))
        for number, value, low, high in bounds:
            if not low <= value <= high:
                raise RefusedError(E_RANGE, number, value, low, high, at)

    def _do(self, operation: operations.Operation, tripped: bool) -> bytes:
        if isinstance(operation, PulseOperation):
            where = self._rectangle(operation.where)
            for sample in operation.samples:
                counts = sample.counts(operation.flip) * operation.repeat
                where += counts
                self.pulses += int(abs(counts).sum())
        if not isinstance(operation, ReadOperation):
            return operations.record(None, tripped)
        weights = self._rectangle(operation.where)
        if operation.second is not None:
            weights = weights - self._rectangle(operation.second)
        codes = operation.codes.astype(np.int64) @ (weights if operation.transposed else weights.T)
        full = 2 ** (self.output_bits - 1) - 1
        return operations.record(np.clip(codes, -full, full).astype(np.int16), tripped)

    def _rectangle(self, where: operations.Rectangle) -> np.ndarray:
        rows, columns = slice(where.row, where.row + where.rows), slice(where.column, where.column + where.columns)
        return self.weights[where.array, rows, columns]


LIMITS = {
    "request": 16384,
    "reply": 16384,
    "line": 1000,
    "cell": 1800,
    "half": 900,
    "gate": 0,
    "input": 63,
    "compliance": 20000,
    "shortest": 40,
    "width": 20_000,
    "gap": 1_000_000,
    "bl": 1024,
    "watchdog": 60_000,
    "run": 200_000,
}
