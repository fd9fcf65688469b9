"""The board as a process: watchdog, signals, the store, the chip at the other end."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT, Board
from tests.backends.hardware.firmware.wire import ARM, E_SAFE, E_STORE, HELLO, IDLE, OK, RUN, STATUS, frame

Start = Callable[..., Board]
FIRE = p.pulse(p.one(3))


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Return how long it took; fails after `seconds`."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.002)
    return time.monotonic() - begin


def test_opening_changes_no_output_and_ends_at_rest(board: Board) -> None:
    board.state()
    assert {kind for kind, _, _ in board.chip.messages} == {"H", "I"}


@pytest.mark.parametrize("watchdog_ms", [20, 200, 450])
def test_silence_latches_within_half_a_second(board: Board, watchdog_ms: int) -> None:
    board.arm(watchdog_ms=watchdog_ms)
    armed = time.monotonic()
    board.chip.messages.clear()
    until(lambda: bool(board.chip.messages), 0.5)
    assert 0.9 * watchdog_ms / 1e3 - 0.01 < time.monotonic() - armed < 0.5
    assert (board.chip.messages, board.state()) == ([("I", 0, b"")], (2, 2))
    assert board.run(FIRE).error[:4] == (E_SAFE, 0xFF, 0, 2)
    board.arm()
    assert board.run(FIRE).status == OK


def test_status_feeds_the_watchdog_and_hello_does_not(board: Board) -> None:
    board.arm(watchdog_ms=300)
    for _ in range(10):
        time.sleep(0.05)
        assert board.ask(STATUS).payload[0] == 1
    for _ in range(10):
        time.sleep(0.05)
        board.state()
    assert board.state() == (2, 2)


def test_strangers_and_noise_do_not_feed_the_watchdog(board: Board) -> None:
    assert board.link is not None
    board.arm(watchdog_ms=200)
    broken = bytearray(frame(STATUS, b"", BOOT))
    broken[5] ^= 1
    for _ in range(8):
        time.sleep(0.05)
        board.link.send(
            bytes(broken) + frame(STATUS, b"", BOOT + 1) + frame(STATUS, b"", BOOT, flags=0x80) + b"noise\0"
        )
        assert board.link.receive().status == 3
    assert board.state() == (2, 2)


def test_a_host_that_reads_nothing_is_no_reason_to_stay_armed(board: Board) -> None:
    """A reply larger than what the terminal holds is given up; the next one is whole again."""
    assert board.link is not None
    board.arm(watchdog_ms=100)
    board.chip.messages.clear()
    question = p.read(bytes(64 * 200), rows=64, columns=64, vectors=200)
    for seq in range(2, 12):
        board.link.send(frame(RUN, question, BOOT, seq))
    until(lambda: board.chip.messages[-1:] == [("I", 0, b"")], 5.0)
    while (piece := board.link.raw(0.3)) is not None:
        last = piece
    assert len(last) < 25000, "what was given up ends where the next reply begins"
    assert board.state() == (2, 2)


def test_a_host_that_closes_and_comes_back_finds_the_board_as_it_was(board: Board) -> None:
    assert board.link is not None
    board.arm()
    board.run(FIRE)
    board.link.close()
    time.sleep(0.05)
    board.link.__init__(board.terminal)  # type: ignore[misc]
    assert (board.state(), board.pulses(), board.run(FIRE).status) == ((1, 0), 3, OK)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_board_with_outputs_at_rest(board: Board, number: signal.Signals) -> None:
    board.arm()
    board.run(FIRE)
    board.process.send_signal(number)
    assert board.end() == (0, "")
    assert board.chip.gone.wait(2)
    assert board.chip.messages[-1][0] == "I"
    assert not os.path.lexists(board.tty)


def test_a_chip_that_goes_ends_the_board(board: Board) -> None:
    board.arm()
    board.chip.close()
    status, said = board.end()
    assert status == 3
    assert "chip is gone; all lines are at rest" in said


@pytest.mark.parametrize(
    "chip", [{"name": "other-64"}, {"name": "emulated-64x"}, {"size": (32, 64, 16)}, {"size": (64, 64, 2)}]
)
def test_another_chip_than_the_board_was_built_for_is_refused(start: Start, chip: dict[str, object]) -> None:
    status, said = start(**chip).end()
    assert status == 1
    assert "built for 16 arrays 64 x 64 of emulated-64, but the chip is" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--chip", "/nowhere"], "no emulated chip at /nowhere"),
        (["--colour", "red"], "cannot use --colour red"),
        (["--volts-per-rail-code", "-1"], "cannot use --volts-per-rail-code -1"),
        (["--boot", "0"], "cannot use --boot 0"),
        (["--boot"], "cannot use --boot"),
        (["--store", "/nowhere/store"], "cannot open the store /nowhere/store"),
        (["--link", "/"], "cannot link /"),
    ],
)
def test_bad_options_end_in_words(start: Start, options: list[str], words: str) -> None:
    status, said = start(*options).end()
    assert status == 1
    assert words in said


def test_two_boards_do_not_share_a_store(start: Start) -> None:
    start()
    status, said = start().end()
    assert status == 1
    assert "another board uses the store" in said


def test_counters_are_kept_over_kills(start: Start) -> None:
    """Boards are killed after a reply or with a frame on its way; what is counted is what the chip was told."""
    told = np.zeros(16, np.int64)
    for round_ in range(6):
        board = start()
        assert [board.pulses(array) for array in range(16)] == told.tolist()
        assert int.from_bytes(board.ask(HELLO, bytes(8)).payload[100:108], "little") == told.sum()
        board.arm()
        for n in range(20):
            board.run(p.pulse(p.one(1 + n), array=(n + round_) % 16))
        if round_ % 2:
            assert board.link is not None
            board.link.send(frame(RUN, p.pulse(p.one(500), array=3), BOOT, board.seq + 1))
            time.sleep(0.0005 * round_)
        board.process.kill()
        board.process.wait()
        assert board.chip.gone.wait(2)
        for array, _, _, count, _ in board.chip.fired():
            told[array] += count


def test_pulses_are_counted_before_they_are_fired(start: Start) -> None:
    """A board is killed while it hands pulses to its chip, more than fit between them: all that arrive are counted."""
    board = start()
    assert board.link is not None
    board.arm(kinds=(p.Kind(width_ns=50, gap_ns=0),))
    board.chip.flowing.clear()
    slots = np.ones((1, 1024), np.bool_)
    board.link.send(frame(RUN, p.pulse(p.sample(slots, slots), repeat=100), BOOT, board.seq + 1))
    before, now = -1, 0
    while now != before:  # until nothing more fits
        time.sleep(0.1)
        before, now = now, board.store.stat().st_mtime_ns
    board.process.kill()
    board.process.wait()
    board.chip.flowing.set()
    assert board.chip.gone.wait(5)
    fired = sum(count for _, _, _, count, _ in board.chip.fired())
    assert 0 < fired <= start().pulses(0) < 100 * 1024


@pytest.mark.parametrize("place", [0, 1])
def test_a_torn_place_of_the_store_falls_back_on_the_other(start: Start, place: int) -> None:
    board = start()
    board.arm()
    counts = [board.run(p.pulse(p.one(5))) and board.pulses() for _ in range(4)]
    board.close()
    data = bytearray(board.store.read_bytes())
    newest = max((0, 1), key=lambda n: int.from_bytes(data[4096 * n : 4096 * n + 4], "little"))
    data[4096 * place + 6] ^= 0x55
    board.store.write_bytes(data)
    board = start()
    assert board.pulses() == (counts[-2] if place == newest else counts[-1])
    board.arm()
    board.run(FIRE)
    assert board.pulses() == (counts[-2] if place == newest else counts[-1]) + 3


def test_a_store_that_holds_nothing_right_does_not_arm(start: Start, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"\x5a" * 8192)
    board = start()
    assert board.ask(ARM, p.Arm().pack(), 1).status == E_STORE
    assert board.ask(IDLE).status == OK


def test_codes_become_volts_and_amperes_become_codes(start: Start) -> None:
    board = start(
        "--volts-per-rail-code", "0.002", "--amperes-per-compliance-code", "1e-5",
        "--amperes-full-scale", str(255 / 2**23), "--volts-per-input-code", str(2**-6),
    )  # fmt: skip
    board.arm(kinds=(p.Kind(up=(600, 10, -500, -20), gate=1500, width_ns=777, gap_ns=55),), compliance=30)
    slots = np.array([[True, False, True]]), np.array([[True, True, False]])
    board.run(p.pulse(p.sample(*slots), array=2, row=9, column=63))
    (rails,) = [np.frombuffer(body, "<f4").tolist() for kind, array, body in board.chip.messages if kind == "R"]
    assert rails == np.float32([1.2, 0.02, -1.0, -0.04, 1.5, 3e-4]).tolist()
    row, column = bytes([0, 2, 0, 0, 0, 0, 0, 0]), bytes(7) + b"\x80"
    assert board.chip.fired() == [(2, 777, 55, 3, row + column + row + bytes(8) + bytes(8) + column)]
    board.chip.siemens = 2**-18  # an input code is half an output code, exactly
    reply = board.run(p.read(bytes([1, 2, 3, 5, 63, 256 - 3]), vectors=6) + p.read(bytes([62]), scale=1))
    assert np.frombuffer(reply.payload[1:13], "<i2").tolist() == [0, 1, 2, 2, 32, -2], "half to even"
    assert np.frombuffer(reply.payload[14:], "<i2").tolist() == [16], "15.5, at twice the full scale"
    board.chip.siemens = 1.0
    reply = board.run(p.read(bytes([1, 255]), vectors=2))
    assert np.frombuffer(reply.payload[1:], "<i2").tolist() == [255, -255], "both ends of the converter"


def test_a_sense_goes_to_the_chip_in_volts(board: Board) -> None:
    board.arm()
    codes = np.arange(-63, 64, dtype=np.int8)[:120].reshape(40, 3)
    second = bytes([4, 0, 7, 0, 8, 0])
    payload = p.read(codes.tobytes(), 1, 0, 5, 3, 60, 4, 40, p.TRANSPOSED | p.DIFFERENTIAL, second)
    assert len(board.run(payload).payload) == 1 + 2 * 40 * 4
    ((array, body),) = [(array, body) for kind, array, body in board.chip.messages if kind == "S"]
    assert (array, body[:2]) == (1, b"\1\1")
    assert np.frombuffer(body[2:16], "<u2").tolist() == [4, 5, 3, 60, 4, 7, 8]
    volts = np.frombuffer(body[20:], "<f4").reshape(40, 3)
    assert np.array_equal(volts, (codes * (0.2 / 63)).astype(np.float32))


def test_one_hot_vectors_are_those_written_out(board: Board) -> None:
    board.arm()
    pairs = np.array([[3, 17], [0, -63], [63, 1]], "<i2")
    full = np.zeros((3, 64), np.int8)
    full[range(3), pairs[:, 0]] = pairs[:, 1]
    board.run(p.read(pairs.tobytes(), columns=64, rows=64, vectors=3, flags=p.ONE_HOT))
    board.run(p.read(full.tobytes(), columns=64, rows=64, vectors=3))
    one, other = [body for kind, _, body in board.chip.messages if kind == "S"]
    assert one == other
