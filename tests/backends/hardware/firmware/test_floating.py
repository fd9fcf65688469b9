"""Lines that float: a cross-point at a time, the full volts as the worst of all devices, and never behind gates."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rpudriver.backends.hardware.firmware.build import build_host
from rpudriver.backends.hardware.operations import PulseOperation, decode
from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import Board, StreamBoard, session
from tests.backends.hardware.firmware.payloads import Arm, Kind
from tests.backends.hardware.firmware.test_limits import refused
from tests.backends.hardware.firmware.test_trains import drawn_side, random_sides
from tests.backends.hardware.firmware.wire import ARM, E_CONFIG, E_RANGE, OK, RUN

FLOATING = 1
BOARD = {"CAPABILITIES": 31, "MAX_HALF": 1500}
FLOAT = Kind(pad=FLOATING, width_ns=900, gap_ns=100)


@pytest.fixture(scope="module")
def host() -> Path:
    return build_host(sanitize=True, **BOARD)


@pytest.fixture
def board(start: Callable[..., Board], host: Path) -> Board:
    return start(build=host)


@pytest.fixture
def stream(tmp_path: Path) -> Callable[[bytes], StreamBoard]:
    build = build_host(sanitize=True, program="fake", **BOARD)

    def stream(data: bytes) -> StreamBoard:
        done = subprocess.run([build, tmp_path / "log"], input=data, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return StreamBoard(done.stdout, (tmp_path / "log").read_text().splitlines())

    return stream


def arm(**kind: object) -> Arm:
    return Arm(kinds=(FLOAT,)).with_kind(**kind)


ARMS = {
    "half up": (arm(up=(751, 0, -750, 0)), arm(up=(750, 0, -750, 0)), (0, 10, 1501, -1500, 1500)),
    "half down": (arm(down=(-750, 0, 751, 0)), arm(down=(-750, 0, 750, 0)), (0, 10, -1501, -1500, 1500)),
    "cell": (arm(up=(901, 0, -900, 0)), arm(), (0, 9, 1801, -1800, 1800)),
    "line": (arm(up=(1001, 0, 0, 0)), arm(up=(1000, 0, 0, 0)), (0, 8, 1001, -1000, 1000)),
    "row rest": (arm(up=(675, 1, -675, 0)), arm(), (0, 24, 1, 0, 0)),
    "column rest": (arm(down=(-650, 0, 650, -1)), arm(), (0, 24, -1, 0, 0)),
    "reserved": (arm(pad=3), arm(), (0, 24, 2, 0, 0)),
}


@pytest.mark.parametrize("name", ARMS)
def test_arm_beyond_a_limit_is_refused_and_at_it_passes(board: Board, name: str) -> None:
    beyond, at, error = ARMS[name]
    assert refused(board, ARM, beyond.pack(), E_RANGE) == error
    assert board.numbered(ARM, at.pack()).status == OK


def test_lines_float_behind_no_gate(board: Board) -> None:
    assert refused(board, ARM, arm(gate=1).pack(), E_CONFIG) == (0, 11, 1, 0, 0)


def test_a_board_that_cannot_let_lines_float_refuses(start: Callable[..., Board]) -> None:
    assert refused(start(), ARM, arm(up=(400, 0, -400, 0)).pack(), E_RANGE) == (0, 23, 16, 0, 0)


def test_the_same_rails_at_rest_are_held_to_half(board: Board) -> None:
    """What floats is held to all of the volts; the same pulse in V/2 is held to half of them."""
    kind = Kind(up=(900, 0, -900, 0))
    assert board.numbered(ARM, Arm(kinds=(kind,)).pack()).status == OK
    assert board.numbered(ARM, Arm(kinds=(kind, FLOAT)).pack()).status == OK
    error = refused(board, ARM, Arm(kinds=(kind, Kind(up=(900, 0, -900, 0), pad=FLOATING))).pack(), E_RANGE)
    assert error == (1, 10, 1800, -1500, 1500)


@pytest.mark.parametrize("flip", [False, True])
def test_each_cross_point_has_a_slot_for_itself(stream: Callable[[bytes], StreamBoard], flip: bool) -> None:
    random = np.random.default_rng(3)
    sides = [random_sides(random, bl, 9, 20) for bl in (7, 40)]
    run = p.pulse(b"".join(p.sample(*s) for s in sides), 2, 0, 3, 9, 40, 20, 2, repeat=2, flags=p.FLIP * flip)
    told = stream(session(run, kinds=(FLOAT,)))
    assert [reply.status for reply in told.replies] == [OK, OK]
    (operation,) = decode(run, 7)
    assert isinstance(operation, PulseOperation)
    expected = np.zeros((64, 64), np.int64)
    expected[3:12, 40:60] = 2 * sum(s.counts(flip) for s in operation.samples)
    assert np.array_equal(told.counts, expected)
    for _, rows, columns in told.phases:
        assert (rows.sum(1) == 1).all()
        assert (columns.sum(1) == 1).all()
    assert all(line.split()[-1] == "1" for line in told.log if line.startswith("R"))


def test_they_come_in_order_and_slots_without_any_take_none(stream: Callable[[bytes], StreamBoard]) -> None:
    x = np.array([[1, 0, 1], [1, 1, 1]], np.bool_)
    d = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.bool_)
    told = stream(session(p.pulse(p.sample(x, d), rows=3, columns=2), kinds=(FLOAT,)))
    ((_, rows, columns),) = told.phases
    fired = list(zip(rows.argmax(1).tolist(), columns.argmax(1).tolist(), strict=True))
    assert fired == [(0, 0), (0, 1), (2, 0), (2, 1), (1, 1), (2, 1)]


def test_what_counts_for_the_duration_is_cross_points(board: Board) -> None:
    """At 1 us each: 1000 fit a run of 1 ms, 1001 do not, whatever BL they come in; nothing is nothing."""
    board.arm(kinds=(FLOAT, Kind(width_ns=900, gap_ns=100)), max_run_us=1000)
    lines = np.ones((10, 10), np.bool_)
    thousand = p.pulse(p.sample(lines, lines), rows=10, columns=10)
    assert refused(board, RUN, thousand + p.pulse(p.one()), E_RANGE) == (1, 15, 1001, 0, 1000)
    assert board.run(thousand).status == OK
    assert board.pulses() == 1000
    assert board.run(p.pulse(p.sample(lines, lines), rows=10, columns=10, kind=1, repeat=100)).status == OK
    apart = np.zeros((1, 1024), np.bool_), np.ones((1, 1024), np.bool_)
    apart[0][0, 0] = True
    assert board.run(p.pulse(p.sample(*apart), repeat=60)).status == OK


def test_drawn_trains_count_as_all_that_there_could_be(board: Board) -> None:
    board.arm(kinds=(FLOAT,), max_run_us=1000)

    def drawn(bl: int) -> bytes:
        side = drawn_side(np.full(5, 0.01, np.float32), 1.0)
        return p.pulse(bl.to_bytes(2, "little") + side + side, rows=5, columns=5, flags=p.DRAWN, drawn=bytes(24))

    assert refused(board, RUN, drawn(41), E_RANGE) == (0, 15, 1025, 0, 1000)
    assert board.run(drawn(40)).status == OK
    assert board.pulses() < 100


def test_the_chip_is_told_that_lines_float(board: Board) -> None:
    board.arm(kinds=(FLOAT,))
    board.run(p.pulse(p.one()))
    (rails,) = [np.frombuffer(body, "<f4") for kind, _, body in board.chip.messages if kind == "R"]
    assert np.isnan(rails).tolist() == [False, True, False, True, False, False]
    assert rails[[0, 2]] == pytest.approx([0.675, -0.675])
