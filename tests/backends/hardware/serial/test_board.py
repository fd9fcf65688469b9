"""The driver on a board that is well: batches, the watchdog, limits, idle."""

import logging
import time
from dataclasses import replace

import pytest

from rpudriver.backends.hardware.driver import Reply
from rpudriver.backends.hardware.serial.frames import NUMBERS, following
from rpudriver.errors import BoardError, LinkLostError, NotArmedError
from tests.backends.hardware import board_model
from tests.backends.hardware.batches import one_hot_read, pulses, read_back
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.serial.benches import SETTINGS, bench
from tests.backends.hardware.wires import within


def test_who_is_there() -> None:
    with bench(BoardModel(boot=77), arm=False) as b:
        who = b.driver.connect()
        assert (who.chip, who.session, who.armed, who.pulses) == ("emulated-64", 77, False, 0)
        assert who.reason == "just started"
        assert who.firmware == f"{b'model'.hex()}000000, protocol 1.0"
        assert b.driver.largest == (16384, 16384)
        assert b.model.state == (board_model.IDLED, 4), "opening and connecting change nothing"


def test_batches_are_done_in_order_and_read_back() -> None:
    with bench() as b:
        for row in range(4):
            assert b.run(pulses(row, 1, row + 1, up=row % 2 == 0)) == Reply(b"\0")
        found = read_back(b.run(one_hot_read(0, 4, 0, 2)).records, 4, 2)
        assert found.tolist() == [[0, 1], [0, -2], [0, 3], [0, -4]]
        assert b.driver.connect().pulses == 10


def test_a_ticket_says_what_will_be_sent_and_sends_nothing() -> None:
    with bench() as b:
        operations = pulses(0, 0, 1)
        ticket = b.driver.stamp(operations)
        assert (ticket, b.model.done) == (b.driver.stamp(operations), 0)
        assert (ticket.session, ticket.seq) == (b.model.boot, b.model.last_seq + 1)
        b.driver.run(ticket, operations)
        assert (b.model.last_seq, b.model.last_crc) == (ticket.seq, ticket.crc)
        with pytest.raises(BoardError, match="another ticket than its operations"):
            b.driver.run(b.driver.stamp(operations), pulses(0, 0, 2))
        assert b.model.done == 1


@pytest.mark.parametrize("seq", [0, 1, NUMBERS - 2, NUMBERS - 1, NUMBERS])
def test_numbers_wrap_past_zero(seq: int) -> None:
    model = BoardModel()
    model.last_seq = seq
    with bench(model) as b:
        for _ in range(4):
            b.run(pulses(0, 0, 1))
        assert model.weights[0, 0, 0] == 4
        assert model.last_seq == (seq + 4) % NUMBERS + 1  # an ARM and four batches
        assert following(NUMBERS) == 1


def test_a_pause_longer_than_the_watchdog_is_slept_through(caplog: pytest.LogCaptureFixture) -> None:
    with bench(arm=False) as b:
        b.driver.connect()
        b.driver.arm(replace(SETTINGS, watchdog_ms=40))
        time.sleep(0.1)
        assert b.model.state == (board_model.SAFE, 2)
        with caplog.at_level(logging.INFO, "rpudriver"):
            b.run(pulses(0, 0, 3))
        assert "armed again after a pause longer than its watchdog" in caplog.text
        assert (b.model.weights[0, 0, 0], b.model.done) == (3, 1)
        b.run(pulses(0, 0, 3))
        assert b.model.weights[0, 0, 0] == 6


def test_a_board_that_was_idled_stays_so() -> None:
    with bench() as b:
        b.driver.idle()
        assert b.model.state == (board_model.IDLED, 1)
        with pytest.raises(NotArmedError, match=r"batch 2 was refused, nothing was done: .* \(idled on request\)"):
            b.run(pulses(0, 0, 1))
        assert b.model.pulses == 0
        b.driver.arm(SETTINGS)
        b.run(pulses(0, 0, 1))
        assert b.model.pulses == 1


def test_a_watchdog_that_is_too_short_ends_in_an_error() -> None:
    with bench(arm=False) as b:
        b.driver.connect()
        b.driver.arm(replace(SETTINGS, watchdog_ms=1))
        b.model.clock = iter(range(10**9, 10**10)).__next__  # a second passes between any two looks at the clock
        with pytest.raises(BoardError, match=r"watchdog had cut it off.*lengthen timing.watchdog_s = 0.5"):
            within(10.0, lambda: b.run(pulses(0, 0, 1)))
        assert b.model.pulses == 0


def test_a_trip_is_a_flag_and_latches() -> None:
    with bench() as b:
        b.model.trip_at = 1
        reply = b.run(pulses(0, 0, 1) * 3)
        assert reply == Reply(b"\0\1", tripped=True)
        with pytest.raises(NotArmedError, match=r"cut off by its compliance limit\); arm it again"):
            b.run(pulses(0, 0, 1))
        assert b.model.pulses == 2, "nothing after the trip, and nothing after the error"
        b.driver.arm(SETTINGS)
        assert b.run(pulses(0, 0, 1)) == Reply(b"\0")


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (pulses(0, 0, 1, array=16), r"operation 1: array = 16, allowed is 0 to 15"),
        (pulses(0, 0, 1, kind=3), r"operation 1: kind of pulse = 3, allowed is 0 to 2"),
        (pulses(64, 0, 1), r"operation 1: row \+ rows = 65, allowed is 1 to 64"),
        (b"\x77\0\0\0", r"operation 1: operation = 119, allowed is 16 to 48"),
    ],
)
def test_a_refusal_names_field_value_and_range(operations: bytes, words: str) -> None:
    with bench() as b:
        with pytest.raises(BoardError, match=r"batch 2 was refused by the board, nothing was done: .*" + words):
            b.run(pulses(0, 0, 1) + operations)
        assert b.model.pulses == 0
        assert b.run(pulses(0, 0, 1)) == Reply(b"\0"), "the number is free again"


def test_arming_beyond_the_firmware_is_refused_in_words() -> None:
    words = r"arming was refused.*watchdog, ms = 61000, allowed is 1 to 60000"
    with bench() as b, pytest.raises(BoardError, match=words):
        b.driver.arm(replace(SETTINGS, watchdog_ms=61_000))


def test_nothing_is_sent_before_connecting() -> None:
    with bench(arm=False) as b:
        for forbidden in (lambda: b.driver.arm(SETTINGS), lambda: b.driver.stamp(b""), lambda: b.driver.largest):
            with pytest.raises(BoardError, match=r"connect\(\) first"):
                forbidden()
        assert b.model.last_seq == 0


def test_a_restarted_board_is_a_lost_link() -> None:
    with bench() as b:
        b.model.boot += 1
        with pytest.raises(LinkLostError, match=r"the board has restarted; connect again"):
            b.run(pulses(0, 0, 1))
        assert b.model.pulses == 0
        assert b.driver.connect().session == b.model.boot


def test_closing_twice_and_idling_after_it_are_harmless() -> None:
    with bench() as b:
        b.driver.close()
        b.driver.close()
        b.driver.idle()  # opens the port once more: it is the last resort
        assert b.model.state == (board_model.IDLED, 1)
