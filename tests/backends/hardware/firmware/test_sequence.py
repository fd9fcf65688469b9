"""Promise 3 from the board's side: what is refused does nothing, what is repeated fires once."""

import zlib
from collections.abc import Callable

import pytest

from tests.backends.hardware.firmware import payloads as p
from tests.backends.hardware.firmware.boards import BOOT, Board, StreamBoard, session
from tests.backends.hardware.firmware.wire import (
    ARM,
    COUNTERS,
    E_LENGTH,
    E_NOT_ARMED,
    E_OP,
    E_RANGE,
    E_SAFE,
    E_SEQ_GAP,
    E_SEQ_REUSE,
    E_SESSION,
    E_VERSION,
    FRAME,
    HELLO,
    IDLE,
    OK,
    RUN,
    STATUS,
    Message,
    frame,
    unstuffed,
)  # fmt: skip

FIRE = p.pulse(p.one(3))
ARMING = p.Arm().pack()

# What is sent to a board that is armed and has accepted number 2, and the error:
# status, operation, field, value, low, high.
REFUSED = {
    "version": ({"op": RUN, "payload": FIRE, "seq": 3, "version": 2}, (E_VERSION, FRAME, 0, 2, 1, 1)),
    "version before session": ({"op": RUN, "session": 8, "version": 0}, (E_VERSION, FRAME, 0, 0, 1, 1)),
    "session": ({"op": RUN, "payload": FIRE, "seq": 3, "session": 8}, (E_SESSION, FRAME, 0, 8, BOOT, BOOT)),
    "session before number": (
        {"op": RUN, "payload": FIRE, "seq": 2, "session": 0},
        (E_SESSION, FRAME, 0, 0, BOOT, BOOT),
    ),
    "status of another session": ({"op": STATUS, "session": 8}, (E_SESSION, FRAME, 0, 8, BOOT, BOOT)),
    "reuse": ({"op": RUN, "payload": p.pulse(p.one(4)), "seq": 2}, (E_SEQ_REUSE, FRAME, 25, 2, 3, 3)),
    "reuse by another op": ({"op": ARM, "payload": ARMING, "seq": 2}, (E_SEQ_REUSE, FRAME, 25, 2, 3, 3)),
    "gap": ({"op": RUN, "payload": FIRE, "seq": 4}, (E_SEQ_GAP, FRAME, 25, 4, 3, 3)),
    "long ago": ({"op": ARM, "payload": ARMING, "seq": 1}, (E_SEQ_GAP, FRAME, 25, 1, 3, 3)),
    "zero": ({"op": RUN, "payload": FIRE, "seq": 0}, (E_SEQ_GAP, FRAME, 25, 0, 3, 3)),
    "op": ({"op": 0x44, "seq": 3}, (E_OP, FRAME, 1, 0x44, 1, 6)),
    "flags": ({"op": RUN, "payload": FIRE, "seq": 3, "flags": 1}, (E_RANGE, FRAME, 24, 1, 0, 0)),
    "status": ({"op": RUN, "payload": FIRE, "seq": 3, "status": 1}, (E_RANGE, FRAME, 24, 1, 0, 0)),
    "status too long": ({"op": STATUS, "payload": b"\0"}, (E_LENGTH, FRAME, 0, 1, 0, 0)),
    "hello too short": ({"op": HELLO, "payload": bytes(7)}, (E_LENGTH, FRAME, 0, 7, 8, 8)),
    "counters": ({"op": COUNTERS, "payload": b"\x10\0"}, (E_RANGE, FRAME, 2, 16, 0, 15)),
    "counters too short": ({"op": COUNTERS, "payload": b"\1"}, (E_LENGTH, FRAME, 0, 1, 2, 2)),
}


@pytest.fixture
def fired(board: Board) -> Board:
    """A board that is armed and has fired 3 pulses: its last number is 2."""
    board.arm()
    assert board.run(FIRE) == Message(RUN, 0x80, OK, BOOT, 2, b"\0")
    return board


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_does_nothing(fired: Board, name: str) -> None:
    header, error = REFUSED[name]
    sent = len(fired.chip.messages)
    reply = fired.ask(**header)  # type: ignore[arg-type]
    assert reply.error == error
    assert (reply.op, reply.flags, reply.seq) == (header["op"], 0x80, header.get("seq", 0))
    assert (fired.pulses(), len(fired.chip.messages), fired.state()) == (3, sent, (1, 0))
    assert fired.run(FIRE).status == OK, "its number was not used up"


def test_the_same_bytes_get_the_same_reply_and_fire_once(fired: Board) -> None:
    reading = p.pulse(p.one(2), array=5) + p.read(b"\x3f" * 64, columns=64, rows=64)
    replies = {fired.ask(RUN, reading, 3) for _ in range(5)}
    assert len(replies) == 1
    assert len(next(iter(replies)).payload) == 1 + 1 + 128
    assert (fired.pulses(), fired.pulses(5), fired.pulses(0)) == (5, 2, 3)
    assert [kind for kind, _, _ in fired.chip.messages].count("S") == 1


def test_a_reply_is_kept_though_something_else_is_asked_or_refused_between(fired: Board) -> None:
    first = fired.ask(RUN, FIRE, 3)
    fired.ask(RUN, p.wait(2**31), 4)
    fired.state()
    assert fired.ask(RUN, FIRE, 3) == first
    assert fired.pulses() == 6


def test_a_repeated_arm_does_not_arm_again(fired: Board) -> None:
    """An ARM that was delayed and arrives twice, with IDLE between: the board stays idle."""
    arming = p.Arm(max_bl=5).pack()
    reply = fired.ask(ARM, arming, 3)
    assert reply.payload == zlib.crc32(arming).to_bytes(4, "little")
    fired.ask(IDLE)
    assert fired.ask(ARM, arming, 3) == reply
    assert fired.state() == (0, 1)


def test_hello_and_status_tell_the_last_number_and_its_crc(fired: Board) -> None:
    crc = unstuffed(frame(RUN, FIRE, BOOT, 2)[:-1])[-4:]
    hello, status = fired.ask(HELLO, bytes(8), session=0).payload, fired.ask(STATUS).payload
    assert hello[12:20] == status[4:12] == (2).to_bytes(4, "little") + crc
    assert hello[20:24] == status[12:16] == zlib.crc32(ARMING).to_bytes(4, "little")


def test_hello_answers_whoever_asks_and_changes_nothing(fired: Board) -> None:
    sent = len(fired.chip.messages)
    for header in ({"session": 99}, {"version": 9}, {"flags": 3}, {"seq": 1234}):
        reply = fired.ask(HELLO, b"\1\0\0\0\x12\x34\x56\x78", **header)
        assert (reply.status, reply.payload[:4], len(reply.payload)) == (OK, b"\x12\x34\x56\x78", 108)
    assert (len(fired.chip.messages), fired.state()) == (sent, (1, 0))


@pytest.mark.parametrize("header", [{}, {"session": 99}, {"version": 9}, {"flags": 1}, {"payload": b"x"}, {"seq": 7}])
def test_idle_is_always_obeyed(fired: Board, header: dict[str, int]) -> None:
    sent = len(fired.chip.messages)
    reply = fired.ask(IDLE, **header)  # type: ignore[arg-type]
    assert (reply.status, reply.payload) == (OK, b"")
    fired.await_messages(sent + 1)
    assert (fired.state(), [kind for kind, _, _ in fired.chip.messages[sent:]]) == ((0, 1), ["I"])
    assert fired.run(FIRE).error == (E_NOT_ARMED, FRAME, 0, 1, 0, 0)
    assert fired.ask(STATUS).payload[12:16] == bytes(4), "no limits where it is not armed"
    fired.arm()
    assert fired.run(FIRE).status == OK


def test_a_board_that_was_never_armed_fires_nothing(board: Board) -> None:
    assert board.state() == (0, 4)
    assert board.ask(RUN, FIRE, 1).error == (E_NOT_ARMED, FRAME, 0, 4, 0, 0)
    assert board.ask(RUN, FIRE, 0).error[0] == E_SEQ_REUSE
    assert not board.chip.fired()


def test_a_trip_latches_until_the_board_is_armed_again(fired: Board) -> None:
    fired.chip.trips = [0, 1]
    tripping = FIRE + FIRE + FIRE
    reply = fired.run(tripping)
    assert (reply.status, reply.payload) == (11, b"\2\0\1")
    assert (fired.state(), fired.chip.last(), fired.pulses()) == ((2, 3), "I", 9)
    assert fired.ask(RUN, tripping, fired.seq) == reply
    assert fired.run(FIRE).error == (E_SAFE, FRAME, 0, 3, 0, 0)
    fired.arm()
    assert fired.run(FIRE).status == OK


def test_a_restart_is_another_session(start: Callable[..., Board]) -> None:
    first = start()
    first.arm()
    first.run(FIRE)
    first.close()
    second = start("--boot", "8")
    assert second.ask(RUN, FIRE, 2, session=BOOT).error[0] == E_SESSION
    assert second.ask(STATUS, session=8).payload[4:12] == bytes(8)


def test_boot_numbers_are_drawn(start: Callable[..., Board], host_build: object) -> None:
    boards = [start("--boot", str(2**32 - 1)), start("--store", "/dev/null")]
    assert boards[0].ask(HELLO, bytes(8)).payload[8:12] == b"\xff" * 4


def test_what_has_bit_7_of_its_flags_set_is_our_own_echo(fired: Board) -> None:
    assert fired.link is not None
    fired.link.send(frame(RUN, FIRE, BOOT, 3, flags=0x80) + frame(IDLE, flags=0x80))
    assert fired.link.silent()
    assert (fired.pulses(), fired.state()) == (3, (1, 0))


def test_outputs_are_at_rest_between_operations(stream: Callable[[bytes], StreamBoard]) -> None:
    told = stream(session(FIRE + p.wait(5) + FIRE))
    assert "".join(line[0] for line in told.log) == "II" + "RFI" + "W" + "RFI" + "I"  # started, armed, ended
