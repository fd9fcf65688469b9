"""Promise 2: the firmware enforces its limits by itself; what is beyond one fires nothing, what is at it passes."""

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rpudriver.backends.hardware.firmware.build import build_host
from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT, Board, session
from tests.backends.hardware.firmware.payloads import Arm, Kind
from tests.backends.hardware.firmware.wire import ARM, E_CONFIG, E_LENGTH, E_RANGE, FRAME, OK, RUN, frame, message

ARM_ = Arm()
UP, DOWN = (675, 0, -675, 0), (-650, 0, 650, 0)

# What is beyond a limit, what is exactly at it, and what the error says: operation, field, value, low, high.
ARMS = {
    "watchdog": (replace(ARM_, watchdog_ms=5001), replace(ARM_, watchdog_ms=5000), (FRAME, 20, 5001, 20, 5000)),
    "watchdog low": (replace(ARM_, watchdog_ms=19), replace(ARM_, watchdog_ms=20), (FRAME, 20, 19, 20, 5000)),
    "input": (replace(ARM_, max_input=64), replace(ARM_, max_input=63), (FRAME, 18, 64, 0, 63)),
    "input low": (replace(ARM_, max_input=-1), replace(ARM_, max_input=0), (FRAME, 18, -1, 0, 63)),
    "bl": (replace(ARM_, max_bl=1025), replace(ARM_, max_bl=1024), (FRAME, 13, 1025, 1, 1024)),
    "bl low": (replace(ARM_, max_bl=0), replace(ARM_, max_bl=1), (FRAME, 13, 0, 1, 1024)),
    "compliance": (replace(ARM_, compliance=20001), ARM_, (FRAME, 21, 20001, 1, 20000)),
    "compliance low": (replace(ARM_, compliance=0), replace(ARM_, compliance=1), (FRAME, 21, 0, 1, 20000)),
    "read": (replace(ARM_, read_us=0), replace(ARM_, read_us=1), (FRAME, 15, 0, 1, 65535)),
    "run": (replace(ARM_, max_run_us=200001), ARM_, (FRAME, 15, 200001, 1, 200000)),
    "ranges": (replace(ARM_, ranges=1), ARM_, (FRAME, 24, 1, 0, 0)),
    "no kind": (replace(ARM_, kinds=()), ARM_, (FRAME, 5, 0, 1, 16)),
    "kinds": (replace(ARM_, kinds=(Kind(),) * 17), replace(ARM_, kinds=(Kind(),) * 16), (FRAME, 5, 17, 1, 16)),
    "second kind": (replace(ARM_, kinds=(Kind(), Kind(width_ns=49))), ARM_, (1, 12, 49, 50, 20000)),
    "row": (ARM_.with_kind(up=(1001, 500, 0, 400)), ARM_.with_kind(up=(1000, 500, 0, 400)), (0, 8, 1001, -1000, 1000)),
    "row rest": (ARM_.with_kind(up=(500, -1001, 0, 0)), ARM_.with_kind(up=(500, 0, 0, 0)), (0, 8, -1001, -1000, 1000)),
    "column": (
        ARM_.with_kind(down=(0, 500, 1001, 500)),
        ARM_.with_kind(down=(0, 500, 1000, 500)),
        (0, 8, 1001, -1000, 1000),
    ),
    "column rest": (ARM_.with_kind(up=(1000, 1000, 0, 1001)), ARM_, (0, 8, 1001, -1000, 1000)),
    "cell": (ARM_.with_kind(up=(901, 0, -900, 1)), ARM_.with_kind(up=(900, 0, -900, 0)), (0, 9, 1801, -1800, 1800)),
    "cell down": (
        ARM_.with_kind(down=(-900, 0, 901, 0)),
        ARM_.with_kind(down=(-900, 0, 900, 0)),
        (0, 9, -1801, -1800, 1800),
    ),
    "half rows": (ARM_.with_kind(up=(901, 0, 0, 0)), ARM_.with_kind(up=(900, 0, 0, 0)), (0, 10, 901, -900, 900)),
    "half columns": (ARM_.with_kind(up=(0, 0, -901, 0)), ARM_.with_kind(up=(0, 0, -900, 0)), (0, 10, 901, -900, 900)),
    "half rest": (
        ARM_.with_kind(up=(0, -451, -900, 450)),
        ARM_.with_kind(up=(0, -450, -900, 450)),
        (0, 10, -901, -900, 900),
    ),
    "gate": (ARM_.with_kind(gate=3001), ARM_.with_kind(gate=3000), (0, 11, 3001, 0, 3000)),
    "half rows, gates": (
        ARM_.with_kind(up=(901, 0, 0, 0), gate=9),
        ARM_.with_kind(up=(900, 0, 0, 0), gate=9),
        (0, 10, 901, -900, 900),
    ),
    "closed rows": (  # they conduct nothing: only without gates do they count
        ARM_.with_kind(up=(0, 0, -901, 0)),
        ARM_.with_kind(up=(0, 0, -901, 0), gate=9),
        (0, 10, 901, -900, 900),
    ),
    "gate low": (ARM_.with_kind(gate=-1), ARM_, (0, 11, -1, 0, 3000)),
    "width": (ARM_.with_kind(width_ns=20001), ARM_.with_kind(width_ns=20000), (0, 12, 20001, 50, 20000)),
    "width low": (ARM_.with_kind(width_ns=49), ARM_.with_kind(width_ns=50), (0, 12, 49, 50, 20000)),
    "width huge": (ARM_.with_kind(width_ns=2**32 - 1), ARM_, (0, 12, 2**31 - 1, 50, 20000)),
    "gap": (ARM_.with_kind(gap_ns=1000001), ARM_.with_kind(gap_ns=1000000), (0, 12, 1000001, 0, 1000000)),
    "ways": (ARM_.with_kind(ways=7), ARM_, (0, 24, 4, 0, 0)),
    "pad": (ARM_.with_kind(pad=2), ARM_, (0, 24, 2, 0, 0)),
}

CONTRADICTIONS = {
    "up is down": (ARM_.with_kind(up=DOWN), (0, 9, -1300, 1, 1800)),
    "down is up": (ARM_.with_kind(down=UP), (0, 9, 1350, -1800, -1)),
    "up is nothing": (ARM_.with_kind(up=(0, 0, 0, 0)), (0, 9, 0, 1, 1800)),
}


@pytest.fixture
def armed(board: Board) -> Board:
    """Two kinds: both ways, and up only; at most 100 slots, input codes to 50, 1 ms a run, 4 us a vector."""
    kinds = (Kind(width_ns=900, gap_ns=100), Kind(ways=1))
    board.arm(max_bl=100, max_input=50, max_run_us=1000, read_us=4, kinds=kinds)
    return board


def refused(board: Board, op: int, payload: bytes, status: int) -> tuple[int, ...]:
    """Return what the error says; nothing was fired, sensed, counted or accepted."""
    before, sent = board.pulses(), len(board.chip.messages)
    reply = board.numbered(op, payload)
    assert reply.status == status, reply.error
    assert (board.pulses(), len(board.chip.messages)) == (before, sent)
    return reply.error[1:]


@pytest.mark.parametrize("name", ARMS)
def test_arm_beyond_a_limit_is_refused_and_at_it_passes(board: Board, name: str) -> None:
    beyond, at, error = ARMS[name]
    assert refused(board, ARM, beyond.pack(), E_RANGE) == error
    assert board.state()[0] == 0
    assert board.numbered(ARM, at.pack()).status == OK
    assert board.state()[0] == 1
    assert refused(board, ARM, beyond.pack(), E_RANGE) == error
    assert board.state()[0] == 1, "a refused frame does nothing"


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_arm_that_contradicts_itself_is_refused(board: Board, name: str) -> None:
    arm, error = CONTRADICTIONS[name]
    assert refused(board, ARM, arm.pack(), E_CONFIG) == error


def test_a_way_that_is_not_allowed_may_hold_anything_and_is_never_fired(board: Board) -> None:
    board.arm(kinds=(Kind(down=(30000, 0, 0, 0), ways=1), Kind(up=(30000, 0, 0, 0), width_ns=0, ways=0)))
    assert board.run(p.pulse(p.one())).status == OK
    assert refused(board, RUN, p.pulse(p.one(), flags=p.FLIP), E_RANGE) == (0, 14, 2, 1, 1)
    assert refused(board, RUN, p.pulse(p.one(), kind=1), E_RANGE) == (0, 14, 1, 0, 0)


def signed(*negative: bool) -> bytes:
    """Return a sample with a line of each of these signs on both sides."""
    lines = np.ones((len(negative), 1), np.bool_)
    return p.sample(lines, lines, np.array(negative), np.array(negative))


def codes(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}b", *values)


def second(array: int = 0, row: int = 0, column: int = 0, pad: int = 0) -> bytes:
    return struct.pack("<BBHH", array, pad, row, column)


WHOLE = {"rows": 64, "columns": 64}
FULL = p.sample(np.ones((64, 1), np.bool_), np.ones((64, 1), np.bool_))
BAD_BITS = {
    "fires": struct.pack("<H", 1) + bytes([3, 0, 1]) + bytes([1, 0, 1]),
    "negative": struct.pack("<H", 1) + bytes([1, 2, 1]) + bytes([1, 0, 1]),
    "slots": struct.pack("<H", 1) + bytes([1, 0, 1]) + bytes([1, 0, 3]),
}
D = p.DIFFERENTIAL
RUNS = {
    "array": (p.pulse(p.one(), array=16), p.pulse(p.one(), array=15), (0, 2, 16, 0, 15)),
    "rows": (p.pulse(p.one(), row=64), p.pulse(p.one(), row=63), (0, 3, 65, 65, 64)),
    "rows far": (p.pulse(p.one(), row=65535), p.pulse(p.one()), (0, 3, 65536, 65536, 64)),
    "no rows": (p.pulse(b"\0\0", rows=0), p.pulse(b"\0\0", **WHOLE), (0, 3, 0, 1, 64)),
    "columns": (p.pulse(p.one(), column=64), p.pulse(p.one(), column=63), (0, 4, 65, 65, 64)),
    "wide": (p.pulse(b"\0\0", columns=65), p.pulse(FULL, **WHOLE), (0, 4, 65, 1, 64)),
    "kind": (p.pulse(p.one(), kind=2), p.pulse(p.one(), kind=1), (0, 5, 2, 0, 1)),
    "no samples": (p.pulse(b"", count=0), p.pulse(b"\0\0"), (0, 6, 0, 1, 65535)),
    "no repeat": (p.pulse(p.one(), repeat=0), p.pulse(p.one(), repeat=1), (0, 7, 0, 1, 65535)),
    "repeat": (
        p.pulse(bytes(4), count=2, repeat=32768),
        p.pulse(bytes(4), count=2, repeat=32767),
        (0, 7, 32768, 1, 32767),
    ),
    "bl": (p.pulse(p.one(101)), p.pulse(p.one(100)), (0, 13, 101, 0, 100)),
    "up": (p.pulse(p.one(), kind=1, flags=p.FLIP), p.pulse(p.one(), kind=1), (0, 14, 2, 1, 1)),
    "mixed": (
        p.pulse(signed(False, True), kind=1, rows=2, columns=2),
        p.pulse(signed(True, True), kind=1, rows=2, columns=2),
        (0, 14, 2, 1, 1),
    ),
    "duration": (p.pulse(p.one(100), repeat=11), p.pulse(p.one(100), repeat=10), (0, 15, 1100, 0, 1000)),
    "duration huge": (p.pulse(p.one(100), repeat=65535), p.pulse(p.one()), (0, 15, 6553500, 0, 1000)),
    "phases": (
        p.pulse(signed(False, True), rows=2, columns=2, repeat=251),
        p.pulse(signed(False, True), rows=2, columns=2, repeat=250),
        (0, 15, 1004, 0, 1000),
    ),
    "sum": (
        p.pulse(p.one(100), repeat=9) + p.wait(97) + p.read(codes(0)),
        p.pulse(p.one(100), repeat=9) + p.wait(96) + p.read(codes(0)),
        (2, 15, 1001, 0, 1000),
    ),
    "pulse flags": (p.pulse(p.one(), flags=4), p.pulse(p.one()), (0, 24, 4, 0, 0)),
    **{f"bits of {name}": (p.pulse(bad), p.pulse(p.one()), (0, 24, 1, 0, 0)) for name, bad in BAD_BITS.items()},
    "read array": (p.read(codes(1), array=16), p.read(codes(1), array=15), (0, 2, 16, 0, 15)),
    "read rows": (p.read(codes(1), row=63, rows=2), p.read(codes(1), row=62, rows=2), (0, 3, 65, 64, 64)),
    "read columns": (p.read(codes(1), column=64), p.read(codes(1), column=63), (0, 4, 65, 65, 64)),
    "second array": (
        p.read(codes(1), flags=D, second=second(16)),
        p.read(codes(1), flags=D, second=second(15)),
        (0, 2, 16, 0, 15),
    ),
    "second row": (
        p.read(codes(1), flags=D, second=second(0, 64)),
        p.read(codes(1), flags=D, second=second(0, 63)),
        (0, 3, 65, 65, 64),
    ),
    "second column": (
        p.read(codes(1), flags=D, second=second(0, 0, 64)),
        p.read(codes(1), flags=D, second=second(0, 0, 63)),
        (0, 4, 65, 65, 64),
    ),
    "second pad": (
        p.read(codes(1), flags=D, second=second(pad=1)),
        p.read(codes(1), flags=D, second=second()),
        (0, 24, 1, 0, 0),
    ),
    "no vectors": (p.read(b"", vectors=0), p.read(codes(1)), (0, 16, 0, 1, 65535)),
    "line": (
        p.read(struct.pack("<Hh", 4, 1), columns=4, flags=p.ONE_HOT),
        p.read(struct.pack("<Hh", 3, 1), columns=4, flags=p.ONE_HOT),
        (0, 17, 4, 0, 3),
    ),
    "input": (p.read(codes(51)), p.read(codes(50)), (0, 18, 51, -50, 50)),
    "input low": (p.read(codes(0, -51), vectors=2), p.read(codes(0, -50), vectors=2), (0, 18, -51, -50, 50)),
    "input one hot": (
        p.read(struct.pack("<Hh", 0, -32768), flags=p.ONE_HOT),
        p.read(struct.pack("<Hh", 0, -50), flags=p.ONE_HOT),
        (0, 18, -32768, -50, 50),
    ),
    "range": (p.read(codes(1), scale=2), p.read(codes(1), scale=1), (0, 19, 2, 0, 1)),
    "read duration": (p.read(bytes(251), vectors=251), p.read(bytes(250), vectors=250), (0, 15, 1004, 0, 1000)),
    "read flags": (p.read(codes(1), flags=8), p.read(codes(1)), (0, 24, 8, 0, 0)),
    "wait": (p.wait(1001), p.wait(1000), (0, 15, 1001, 0, 1000)),
    "wait huge": (p.wait(2**32 - 1), p.wait(0), (0, 15, 2**31 - 1, 0, 1000)),
    "wait flags": (p.operation(p.WAIT, bytes(4), 1), p.wait(0), (0, 24, 1, 0, 0)),
    "operation": (p.wait(0) + p.operation(0x40, b""), p.wait(0), (1, 1, 0x40, 0x10, 0x30)),
    "operations": (p.wait(0) * 256, p.wait(0) * 255, (254, 1, 256, 0, 255)),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_beyond_a_limit_fires_nothing_and_at_it_passes(armed: Board, name: str) -> None:
    beyond, at, error = RUNS[name]
    assert refused(armed, RUN, beyond, E_RANGE) == error
    reply = armed.run(at)
    assert reply.status == OK, reply.error


def test_what_is_right_before_a_wrong_operation_is_not_done(armed: Board) -> None:
    assert refused(armed, RUN, p.pulse(p.one(5)) + p.read(codes(1)) + p.wait(1001), E_RANGE)[0] == 2


def test_a_reply_that_is_too_long_is_refused(board: Board) -> None:
    """256 vectors of 64 outputs are 32768 bytes and one of the record: one too many."""
    board.arm()
    assert refused(board, RUN, p.read(bytes(256), rows=64, vectors=256), E_RANGE) == (0, 22, 32769, 0, 32768)
    reads = p.read(bytes(255), rows=64, vectors=255)  # 255 * 128 bytes and one
    assert len(board.run(reads + p.wait(0) * 127).payload) == 32768
    assert refused(board, RUN, reads + p.wait(0) * 128, E_RANGE) == (128, 22, 32769, 0, 32768)


def test_a_refused_arm_leaves_the_limits_as_they_were(armed: Board) -> None:
    """Everything in it is wider but the last kind, which is beyond the board."""
    wide = Arm(kinds=(Kind(width_ns=100, gap_ns=0), Kind(), Kind(width_ns=20001)))
    assert refused(armed, ARM, wide.pack(), E_RANGE)[:2] == (2, 12)
    for name in ("kind", "bl", "up", "duration", "input", "read duration", "wait"):
        beyond, at, error = RUNS[name]
        assert refused(armed, RUN, beyond, E_RANGE) == error
        assert armed.run(at).status == OK


CAPABLE = {  # bit, what needs it
    "transposed": (1, RUN, p.read(codes(1), flags=p.TRANSPOSED)),
    "differential": (2, RUN, p.read(codes(1), flags=D, second=second())),
    "drawn": (4, RUN, p.pulse(b"\0\0", flags=p.DRAWN, drawn=bytes(24))),
    "gates": (8, ARM, ARM_.with_kind(gate=1).pack()),
}


@pytest.mark.parametrize("name", CAPABLE)
def test_a_board_does_not_do_what_it_is_not_built_for(name: str, tmp_path: Path) -> None:
    bit, op, payload = CAPABLE[name]
    data = session() + frame(op, payload, BOOT, 2)
    for capabilities, status in ((0xF, OK), (0xF & ~bit, E_RANGE)):
        build = build_host(sanitize=True, program="fake", CAPABILITIES=capabilities)
        done = subprocess.run([build, tmp_path / "log"], input=data, capture_output=True, check=True, timeout=20)
        reply = message(done.stdout.split(b"\0")[1])
        assert reply.status == status
        if status:
            assert reply.error == (E_RANGE, 0, 23, bit, 0xF & ~bit if op == RUN else 0, 0xF & ~bit if op == RUN else 0)


LENGTHS = {
    "arm cut": (ARM, Arm().pack()[:-1]),
    "arm empty": (ARM, b""),
    "arm long": (ARM, Arm().pack() + b"\0"),
    "head cut": (RUN, p.wait(1)[:3]),
    "body cut": (RUN, p.wait(1)[:-1]),
    "wait short": (RUN, p.operation(p.WAIT, bytes(3))),
    "wait long": (RUN, p.operation(p.WAIT, bytes(5))),
    "pulse short": (RUN, p.operation(p.PULSE, bytes(13))),
    "drawn short": (RUN, p.operation(p.PULSE, p.pulse(b"", drawn=bytes(23))[4:], p.DRAWN)),
    "sample missing": (RUN, p.pulse(p.one(), count=2)),
    "sample cut": (RUN, p.pulse(p.one()[:-1])),
    "sample spare": (RUN, p.pulse(p.one() + b"\0\0")),
    "read short": (RUN, p.operation(p.READ, bytes(11))),
    "second missing": (RUN, p.read(b"", flags=p.DIFFERENTIAL)),
    "codes cut": (RUN, p.read(bytes(63), columns=64)),
    "codes spare": (RUN, p.read(bytes(65), columns=64)),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_payload_of_the_wrong_length_is_refused(armed: Board, name: str) -> None:
    op, payload = LENGTHS[name]
    assert refused(armed, op, payload, E_LENGTH)[1] == 0
