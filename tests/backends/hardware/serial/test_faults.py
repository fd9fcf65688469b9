"""Promise 3: each number fires at most once, whatever is lost, damaged, doubled or delayed."""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest

from rpudriver.backends.hardware.driver import Fate, Reply, StaleTicketError, Ticket
from rpudriver.backends.hardware.serial.board import SerialBoard
from rpudriver.errors import LinkLostError
from tests.backends.hardware.bare_board import firmware
from tests.backends.hardware.batches import pulses
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.proxy import Proxy, proxied
from tests.backends.hardware.serial.benches import CHIP, SETTINGS
from tests.backends.hardware.wires import board_work, served

T = TypeVar("T")
# The watchdog is so short, and the driver gives up so early, that boards fall asleep and links get lost on the way.
HURRIED = replace(SETTINGS, watchdog_ms=60)


@dataclass
class Storm:
    """Batches through a bad cable, as a `Ledger` has them done; what a journal would hold is `applied`."""

    port: str
    seed: int
    kind: type[SerialBoard] = SerialBoard
    new_process: bool = False
    give_up: float = 0.03
    applied: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._driver = self._new_driver()

    def run(self, batches: int) -> None:
        dice, pauses = random.Random(self.seed), random.Random(f"{self.seed} pauses")
        self._until_it_works(self._arm)
        for _ in range(batches):
            if pauses.random() < 0.005:
                time.sleep(0.08)  # the board falls asleep
                self.seen["pauses"] += 1
            bl = dice.randrange(1, 4)  # few kinds of batch, so that neighbours are often the same
            if self._batch(pulses(dice.randrange(2), 0, bl, up=dice.random() < 0.5)) is not None:
                self.applied += bl
            else:  # nobody can tell: it is read back
                self.seen["uncertain"] += 1
                self.applied = self.pulses()
                self._until_it_works(self._arm)

    def pulses(self) -> int:
        found = self._until_it_works(lambda: self._driver.connect().pulses)
        assert found is not None
        return found

    def close(self) -> None:
        self._driver.close()

    def _batch(self, operations: bytes) -> Reply | None:
        ticket = self._driver.stamp(operations)
        while True:
            try:
                return self._driver.run(ticket, operations)
            except StaleTicketError:
                self.seen["renumbered"] += 1
                ticket = self._driver.stamp(operations)
            except LinkLostError:
                self.seen["lost"] += 1
                fate = self._fate(ticket, operations)
                if isinstance(fate, Reply):
                    return fate
                if fate is Fate.UNKNOWN:
                    return None
                if fate is Fate.NOT_DONE:
                    ticket = self._driver.stamp(operations)

    def _fate(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        """Find out what became of a batch; a process that comes after the one that sent it has to arm as well."""
        if self.new_process:
            time.sleep(0.08)  # it comes after the watchdog
            self._driver.close()
            self._driver = self._new_driver()
        known: Reply | Fate = Fate.NOT_YET

        def settle() -> None:
            nonlocal known
            if known is Fate.NOT_YET:
                known = self._driver.settle(ticket, operations)

        def find_out() -> None:
            self._driver.connect()
            settle()
            if self.new_process:
                self._driver.arm(HURRIED)
                settle()

        self._until_it_works(find_out)
        return known

    def _arm(self) -> None:
        self._driver.connect()
        self._driver.arm(HURRIED)

    def _until_it_works(self, what: Callable[[], T]) -> T:
        for _ in range(200):
            try:
                return what()
            except LinkLostError:
                continue
        raise AssertionError("the link never works")

    def _new_driver(self) -> SerialBoard:
        return self.kind(self.port, CHIP, patience=0.01, give_up=self.give_up)


class FreshNumbers(SerialBoard):  # type: ignore[misc]
    """What every driver without sequence numbers does: it hears nothing, and sends the batch again as a new one."""

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        while True:
            try:
                return super().run(ticket, operations)
            except LinkLostError:
                ticket = self._again(operations)

    def _again(self, operations: bytes) -> Ticket:
        while True:
            try:
                self.connect()
                self.arm(HURRIED)
                return self.stamp(operations)
            except LinkLostError:
                continue


@contextmanager
def storm(port: str, seed: int, **options: Any) -> Iterator[tuple[Storm, Proxy]]:
    with proxied(port, seed) as proxy:
        found = Storm(proxy.port, seed, **options)
        try:
            yield found, proxy
        finally:
            found.close()


def test_every_batch_is_done_exactly_once_whatever_the_cable_does() -> None:
    with firmware() as port, storm(port, seed=1) as (host, proxy):
        host.run(1500)
        assert host.pulses() == host.applied
        assert host.seen["uncertain"] == 0, "a board that runs on always knows"
        for lane in (proxy.down, proxy.up):  # the cable was bad, by the book: 3 % each, give or take five sigma
            frames = lane.seen["frames"]
            for fault in ("drop", "flip", "double", "delay"):
                assert abs(lane.seen[fault] - 0.03 * frames) < 5 * (0.03 * frames) ** 0.5
            assert lane.seen["overtaken"] > 5
        assert host.seen["lost"] > 5
        assert host.seen["pauses"] > 3
        assert host.seen["renumbered"] > 3


def test_processes_that_follow_each_other_do_nothing_twice() -> None:
    with firmware() as port, storm(port, seed=2, new_process=True, give_up=0.015) as (host, _):
        host.run(400)
        assert host.pulses() == host.applied
        assert host.seen["lost"] > 5
        assert host.seen["uncertain"] <= 0.1 * host.seen["lost"], "of those that arrived while the next one armed"


def test_devices_have_got_what_was_sent() -> None:
    model = BoardModel()
    with served(board_work(model)) as end, storm(end.port, seed=3) as (host, _):
        host.run(300)
        dice, expected = random.Random(3), [0, 0]
        for _ in range(300):
            bl, row, up = dice.randrange(1, 4), dice.randrange(2), dice.random() < 0.5
            expected[row] += bl if up else -bl
        assert model.weights[0, :2, 0].tolist() == expected
        assert (model.done, host.applied) == (300, model.pulses)


def test_a_retry_with_a_fresh_number_would_be_found() -> None:
    """The mutation: the same storm through a driver that numbers its retries anew pulses too often."""
    with firmware() as port, storm(port, seed=1, kind=FreshNumbers, give_up=0.01) as (host, _):
        host.run(300)
        assert host.pulses() > host.applied


@pytest.mark.slow
def test_a_hundred_thousand_batches(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of docs/results/hardware.md; RPUDRIVER_BATCHES asks for another number."""
    batches = int(os.environ.get("RPUDRIVER_BATCHES", "100000"))
    started = time.monotonic()
    with firmware() as port, storm(port, seed=4) as (host, proxy):
        host.run(batches)
        found = host.pulses()
        with capsys.disabled():
            print(f"\n{batches} batches in {time.monotonic() - started:.0f} s, {host.applied} pulses, board {found}")
            print(f"down {dict(proxy.down.seen)}\nup {dict(proxy.up.seen)}\nhost {dict(host.seen)}")
        assert found == host.applied
        assert host.seen["uncertain"] == 0
