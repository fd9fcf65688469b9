"""Promise 1 on a bench: the driver holds a batch against what is armed once more, whoever made it; nothing is sent."""

from dataclasses import replace
from typing import Any

import pytest

from rpudriver.backends.hardware.driver import Settings
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.hardware.scpi.bench import ScpiBench
from rpudriver.backends.hardware.scpi.link import PATIENCE_S, Link
from rpudriver.backends.validation import Limits
from rpudriver.errors import BoardError, NotArmedError
from tests.backends.hardware.batches import one_hot_read, pulses

CHIP = load_chip("bench-8")
SETTINGS = CHIP.settings(Limits(max_bl=20, max_input=0.5))
UPDATE, SET = (CHIP.kind_names().index(name) for name in ("update", "set"))
FINE = pulses(7, 7, 20, array=3, kind=UPDATE) + one_hot_read(0, 8, 0, 8, code=SETTINGS.max_input)


class Instrument:
    """A VISA resource that accepts whatever it is told."""

    session = 1

    def __init__(self, sent: list[str]) -> None:
        self._sent = sent

    def query(self, message: str) -> str:
        self._sent.append(message)
        if "ILIM?" in message:
            return "2;0.0004;VOLT;0"
        return "1;0" if message.endswith("COUN?") else "0"

    def close(self) -> None:
        pass


@pytest.fixture
def sent() -> list[str]:
    return []


@pytest.fixture
def driver(sent: list[str]) -> ScpiBench:
    links = [Link(lambda address, **waits: Instrument(sent), name) for name in ("source", "gates", "matrix")]
    found = ScpiBench(CHIP, (links[0], links[1], links[2]))
    found.arm(SETTINGS)
    assert sent
    return found


def run(driver: ScpiBench, operations: bytes) -> Any:
    return driver.run(driver.stamp(operations), operations)


BEYOND = {
    "input": (one_hot_read(0, 1, 0, 1, code=SETTINGS.max_input + 1), "input code 257, at most 256"),
    "negative input": (one_hot_read(0, 1, 0, 1, code=-SETTINGS.max_input - 1), "input code 257, at most 256"),
    "bit length": (pulses(0, 0, 21, kind=UPDATE), "bit length 21, at most 20"),
    "direction": (pulses(0, 0, 1, up=False, kind=SET), "kind 1 is not armed in that direction"),
    "kind": (pulses(0, 0, 1, kind=3), "kind 3, there are 3"),
    "row": (pulses(8, 0, 1, kind=UPDATE), "is not on the chip"),
    "column": (pulses(0, 8, 1, kind=UPDATE), "is not on the chip"),
    "array": (pulses(0, 0, 1, array=4, kind=UPDATE), "is not on the chip"),
    "read": (one_hot_read(1, 8, 0, 8), "is not on the chip"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_batch_beyond_what_is_armed_sends_nothing(name: str, driver: ScpiBench, sent: list[str]) -> None:
    operations, words = BEYOND[name]
    before = len(sent)
    with pytest.raises(BoardError, match=f"operation 2 of the batch is refused, nothing was sent: .*{words}"):
        run(driver, FINE + operations)
    assert len(sent) == before


def test_a_bench_that_is_not_armed_sends_nothing(driver: ScpiBench, sent: list[str]) -> None:
    driver.idle()
    before = len(sent)
    with pytest.raises(NotArmedError, match="not armed"):
        run(driver, FINE)
    assert len(sent) == before


@pytest.mark.parametrize(
    "change",
    [{"up": (1, 0, -1350, 0)}, {"up": (0, 1, -1350, 0)}, {"down": (0, 0, 1300, 1)}, {"gate": 0}, {"gate": -1}],
)
def test_kinds_that_the_wiring_cannot_give_are_not_armed(
    change: dict[str, Any], driver: ScpiBench, sent: list[str]
) -> None:
    kind = replace(SETTINGS.kinds[UPDATE], **change)
    before = len(sent)
    with pytest.raises(BoardError, match="kind 0 drives the rows or has no gate"):
        driver.arm(replace(SETTINGS, kinds=(kind,)))
    assert len(sent) == before
    driver.arm(replace(SETTINGS, kinds=(replace(kind, ways=0), SETTINGS.kinds[UPDATE])))  # never fired


def test_every_wait_for_an_instrument_has_a_limit() -> None:
    """Three seconds, and as long as the message takes by itself; opening as well."""
    opened: list[dict[str, int]] = []
    instrument = Instrument([])

    def opener(address: str, **waits: int) -> Instrument:
        opened.append(waits)
        return instrument

    link = Link(opener, "source", patience=0.25)
    for seconds in (0.0, 1.5):
        link.ask("*IDN?", seconds)
        assert vars(instrument)["timeout"] == 1000 * (0.25 + seconds)
    assert opened == [{"open_timeout": 250, "timeout": 250}]
    assert PATIENCE_S == 3.0


def test_what_is_armed_is_told_to_the_instruments(driver: ScpiBench, sent: list[str]) -> None:
    """The current limit of the profile, whatever it is, and levels of no more than the armed kinds."""
    tight = Settings(**{**vars(SETTINGS), "compliance": 321})
    sent.clear()
    with pytest.raises(BoardError, match=r"a limit of 0\.0004 A, not .* 0\.000321 A"):
        driver.arm(tight)
    assert any("ILIM 0.000321" in message for message in sent)
