"""A batch whose reply never came: found out, done once, or called uncertain."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from rpudriver.backends.hardware.driver import Fate, Reply, StaleTicketError, Ticket
from rpudriver.errors import BoardError, LinkLostError, NotArmedError
from tests.backends.hardware import board_model
from tests.backends.hardware.batches import one_hot_read, pulses, read_back
from tests.backends.hardware.serial.benches import SETTINGS, Bench, bench

BATCH = pulses(2, 3, 5) + one_hot_read(2, 1, 3, 1)


def lose(b: Bench, batch: bytes = BATCH, done: bool = True) -> Ticket:
    """Send a batch and lose the reply, or the batch itself, and all retries."""
    answer = b.model.receive
    lost = (lambda data: answer(data) and None) if done else (lambda data: None)
    b.model.receive = lost  # type: ignore[method-assign]
    ticket = b.driver.stamp(batch)
    with pytest.raises(LinkLostError):
        b.driver.run(ticket, batch)
    b.model.receive = answer  # type: ignore[method-assign]
    return ticket


def value(reply: Reply | Fate) -> int:
    assert isinstance(reply, Reply)
    assert not reply.tripped
    return int(read_back(reply.records[1:], 1, 1)[0, 0])


@pytest.mark.parametrize("process", ["same", "new"])
def test_a_batch_that_was_done_gives_its_reply(process: str) -> None:
    with bench(give_up=0.3) as b:
        ticket = lose(b)
        driver = b.driver if process == "same" else b.another()
        driver.connect()
        assert value(driver.settle(ticket, BATCH)) == 5
        assert (b.model.pulses, b.model.done) == (5, 1)


@pytest.mark.parametrize("process", ["same", "new"])
def test_a_batch_that_was_not_done_keeps_its_number(process: str) -> None:
    with bench(give_up=0.3) as b:
        b.run(BATCH)  # the one before it is the same: its number tells them apart
        ticket = lose(b, done=False)
        driver = b.driver if process == "same" else b.another()
        driver.connect()
        assert driver.settle(ticket, BATCH) is Fate.NOT_YET
        assert b.model.pulses == 5, "settling does nothing"
        assert driver.stamp(BATCH) == ticket
        assert value(driver.run(ticket, BATCH)) == 10


def asleep(b: Bench) -> None:
    b.model.heard -= 60.0
    assert b.model.state == (board_model.SAFE, 2)


def asked(b: Bench) -> None:
    b.driver.idle()


@pytest.mark.parametrize("off", [asleep, asked])
@pytest.mark.parametrize("done", [True, False])
def test_after_a_killed_process_the_next_one_settles_then_arms(off: Callable[[Bench], None], done: bool) -> None:
    with bench(give_up=0.3) as b:
        b.run(BATCH)
        ticket = lose(b, done=done)
        off(b)
        driver = b.another()
        driver.connect()
        if done:
            for _ in range(2):
                assert value(driver.settle(ticket, BATCH)) == 10
            assert b.model.pulses == 10, "settling again gives the same and does nothing"
            return
        assert driver.settle(ticket, BATCH) is Fate.NOT_YET
        driver.arm(SETTINGS)
        for _ in range(2):
            assert driver.settle(ticket, BATCH) is Fate.NOT_DONE, "the ARM has its number"
        assert b.model.pulses == 5
        assert value(driver.run(driver.stamp(BATCH), BATCH)) == 10


def test_the_process_that_armed_the_board_arms_it_again() -> None:
    with bench() as b:
        asleep(b)
        ticket = b.driver.stamp(BATCH)
        with pytest.raises(StaleTicketError, match=r"lengthen timing\.watchdog_s"):
            b.driver.run(ticket, BATCH)
        assert (b.model.state[0], b.model.pulses) == (board_model.ARMED, 0)
        again = b.driver.stamp(BATCH)
        assert again.seq == ticket.seq + 1, "the ARM has its number"
        assert value(b.driver.run(again, BATCH)) == 5
        b.driver.idle()
        with pytest.raises(NotArmedError):
            b.run(BATCH)


@pytest.mark.parametrize("process", ["same", "new"])
def test_a_batch_lost_while_the_board_is_armed_again(process: str) -> None:
    """The board falls asleep, the driver arms it (with the number of the batch), and the answer to that gets lost."""
    with bench(give_up=0.3) as b:
        asleep(b)
        answer, frames = b.model.receive, []

        def lossy(data: bytes) -> bytes | None:
            frames.append(data)
            reply = answer(data)
            return reply if len(frames) == 1 else None  # RUN refused, then ARM

        b.model.receive = lossy  # type: ignore[method-assign]
        ticket = b.driver.stamp(BATCH)
        with pytest.raises(LinkLostError):
            b.driver.run(ticket, BATCH)
        b.model.receive = answer  # type: ignore[method-assign]
        driver = b.driver if process == "same" else b.another()
        driver.connect()
        assert driver.settle(ticket, BATCH) is Fate.NOT_DONE
        assert b.model.pulses == 0


def test_after_a_restart_of_the_board_nobody_can_tell() -> None:
    with bench(give_up=0.3) as b:
        ticket = lose(b)
        b.model.boot += 1
        driver = b.another()
        driver.connect()
        assert driver.settle(ticket, BATCH) is Fate.UNKNOWN
        assert b.model.done == 1


def test_what_another_batch_has_overwritten_is_uncertain() -> None:
    with bench(give_up=0.3) as b:
        ticket = lose(b)
        other = b.another()
        other.connect()
        other.arm(SETTINGS)
        b.run(pulses(0, 0, 1))
        before = b.model.pulses
        assert other.settle(ticket, BATCH) is Fate.UNKNOWN
        assert b.model.pulses == before


def test_a_lost_link_has_to_be_connected_again() -> None:
    with bench(give_up=0.3) as b:
        lose(b)
        with pytest.raises(Exception, match=r"connect\(\) first"):
            b.driver.stamp(BATCH)
        b.driver.connect()
        assert b.driver.stamp(BATCH).seq == b.model.last_seq + 1


def test_a_batch_that_arrives_after_it_was_given_up_takes_no_number_twice() -> None:
    """It sat in a buffer on the way: the ARM that was to have its number finds it done."""
    with bench(give_up=0.3) as b:
        late: list[bytes] = []
        answer = b.model.receive
        b.model.receive = lambda data: late.append(data)  # type: ignore[method-assign, assignment, func-returns-value]
        ticket = b.driver.stamp(BATCH)
        with pytest.raises(LinkLostError):
            b.driver.run(ticket, BATCH)
        b.model.receive = answer  # type: ignore[method-assign]
        b.driver.connect()
        answer(late[0])  # while nobody looks
        b.driver.arm(replace(SETTINGS, max_bl=7))
        for data in late:
            answer(data)
        assert (b.model.pulses, b.model.done) == (5, 1)
        assert b.driver.settle(ticket, BATCH) is Fate.UNKNOWN, "the ARM has replaced the reply"


def test_a_number_that_another_program_has_used_is_a_lost_link() -> None:
    """Where the board stands has to be asked anew: the batch before may have been done after it was given up."""
    with bench() as b:
        b.model.last_seq += 5
        with pytest.raises(LinkLostError, match="has another number than batch 2, which is to be settled"):
            b.run(BATCH)
        with pytest.raises(BoardError, match=r"connect\(\) first"):
            b.driver.stamp(BATCH)
        b.driver.connect()
        assert value(b.run(BATCH)) == 5


def test_a_number_that_is_used_while_the_board_is_armed_again() -> None:
    """Somebody else arms it between the refusal of the batch and our ARM, which finds its number used."""
    with bench() as b:
        asleep(b)
        answer = b.model.receive

        def meanwhile(data: bytes) -> bytes | None:
            reply = answer(data)
            b.model.last_seq, b.model.last_crc = b.model.last_seq + 1, 0
            b.model.receive = answer  # type: ignore[method-assign]
            return reply

        b.model.receive = meanwhile  # type: ignore[method-assign]
        ticket = b.driver.stamp(BATCH)
        with pytest.raises(LinkLostError, match=r"batch 2 may have been done .* it is to be settled"):
            b.driver.run(ticket, BATCH)
        b.driver.connect()
        assert b.driver.settle(ticket, BATCH) is Fate.NOT_DONE
        assert b.model.pulses == 0


def test_after_idle_nothing_arms_the_board_again() -> None:
    """Not even where nobody heard the idle, and the watchdog puts the board to rest."""
    with bench(give_up=0.3) as b:
        answer = b.model.receive
        b.model.receive = lambda data: None  # type: ignore[method-assign, assignment]
        with pytest.raises(LinkLostError):
            b.driver.idle()
        b.model.receive = answer  # type: ignore[method-assign]
        asleep(b)
        with pytest.raises(NotArmedError, match="cut off by its watchdog"):
            b.run(BATCH)
        assert (b.model.state[0], b.model.pulses) == (board_model.SAFE, 0)


def test_a_wait_for_a_silent_board_is_bounded() -> None:
    with bench(give_up=0.3) as b:
        started = time.monotonic()
        lose(b, done=False)
        assert 0.29 < time.monotonic() - started < 1.0
