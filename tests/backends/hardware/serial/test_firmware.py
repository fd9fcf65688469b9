"""The driver and the reference firmware: what tests show with the model board holds there too."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from rpudriver.backends.hardware.driver import Fate, Reply
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.errors import BoardError, LinkLostError, NotArmedError
from tests.backends.hardware.bare_board import firmware
from tests.backends.hardware.batches import one_hot_read, pulses, read_back
from tests.backends.hardware.proxy import Faults, proxied
from tests.backends.hardware.serial.benches import CHIP, SETTINGS


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    with firmware(sanitize=True) as found:
        yield found


@pytest.fixture
def driver(port: str) -> Iterator[SerialBoard]:
    found = SerialBoard(port, CHIP, give_up=2.0)
    found.connect()
    found.arm(SETTINGS)
    yield found
    found.idle()
    found.close()


def run(driver: SerialBoard, operations: bytes) -> Reply:
    return driver.send(driver.stamp(operations), operations)


def counted(driver: SerialBoard) -> int:
    found = driver.connect().pulses
    assert found is not None
    return found


def test_it_is_known_and_counts(driver: SerialBoard) -> None:
    who, before = driver.connect(), counted(driver)
    assert (who.chip, who.armed, who.reason) == ("emulated-64", True, "none")
    assert driver.largest == (32768, 32768)
    assert run(driver, pulses(3, 4, 5) + pulses(3, 4, 6, up=False)) == Reply(b"\0\0")
    assert counted(driver) == before + 11


def test_a_read_comes_back_whole(driver: SerialBoard) -> None:
    codes = read_back(run(driver, one_hot_read(0, 64, 0, 64, code=60)).records, 64, 64)
    volts = 60 * CHIP.converters.volts_per_input_code
    expected = round(volts * 1e-6 / CHIP.converters.amperes_full_scale * CHIP.output_codes)  # 1 uS, a one-hot vector
    assert np.unique(codes).tolist() == [expected]


def test_the_watchdog_and_idle(driver: SerialBoard) -> None:
    driver.arm(replace(SETTINGS, watchdog_ms=20))
    before = counted(driver)
    time.sleep(0.05)
    who = driver.connect()
    assert (who.armed, who.reason) == (False, "cut off by its watchdog, which heard nothing for too long")
    run(driver, pulses(0, 0, 1))
    driver.idle()
    assert driver.connect().reason == "idled on request"
    with pytest.raises(NotArmedError, match="idled on request"):
        run(driver, pulses(0, 0, 1))
    assert counted(driver) == before + 1


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (pulses(0, 0, 1, array=16), r"operation 1: array = 16, allowed is 0 to 15"),
        (pulses(0, 0, 1, kind=0), r"operation 1: direction \(1 up, 2 down\) = 1, allowed is 2 to 2"),
        (one_hot_read(0, 1, 0, 1, code=64), r"operation 1: code of an input = 64, allowed is -63 to 63"),
        (pulses(0, 0, 1)[:-1], r"too short, too long or not of whole operations"),
    ],
)
def test_refusals_in_words(driver: SerialBoard, operations: bytes, words: str) -> None:
    before = counted(driver)
    with pytest.raises(BoardError, match="nothing was done: .*" + words):
        run(driver, pulses(0, 0, 1) + operations)
    assert counted(driver) == before


def test_arming_beyond_its_limits_names_the_kind(driver: SerialBoard) -> None:
    kind = replace(SETTINGS.kinds[2], width_ns=20_001)
    with pytest.raises(
        BoardError, match=r"arming was refused.*kind 2: width or gap, ns = 20001, allowed is 50 to 20000"
    ):
        driver.arm(replace(SETTINGS, kinds=(*SETTINGS.kinds[:2], kind)))


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("armed", [True, False])
def test_a_killed_process_and_the_next(port: str, lost: str, armed: bool) -> None:
    """The first process gives up at once; the second finds out what became of the batch, and does it if need be."""
    batch = pulses(1, 1, 7)
    with proxied(port, 0, Faults(0, 0, 0, 0)) as proxy:
        first = SerialBoard(proxy.port, CHIP, patience=0.02, give_up=0.1)
        first.connect()
        first.arm(replace(SETTINGS, watchdog_ms=5000 if armed else 20))
        before = counted(first)
        run(first, batch)  # the same as the next one
        ticket = first.stamp(batch)
        cut = proxy.down if lost == "request" else proxy.up
        cut.cut = True
        with pytest.raises(LinkLostError):
            first.run(ticket, batch)
        first.close()
        cut.cut = False
    time.sleep(0.03)
    second = SerialBoard(port, CHIP)
    assert second.connect().armed == armed
    if lost == "request":
        assert second.settle(ticket, batch) is Fate.NOT_YET
        second.arm(SETTINGS)
        assert second.settle(ticket, batch) is Fate.NOT_DONE
        run(second, batch)
    else:
        assert second.settle(ticket, batch) == Reply(b"\0")
    assert counted(second) == before + 14
    second.idle()
    second.close()
