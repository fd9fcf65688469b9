"""Promises 3 and 4 at every point where a process can be killed, several times in a row."""

import itertools
import random
from pathlib import Path

import pytest
import torch

from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.hardware.journal_file import RecordFile
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import modelled

__all__ = ["modelled"]  # a fixture

ROUNDS, PULSES = 2, 4  # of a program, and in each of its batches, which are all the same
POINTS = 36  # at which it is killed, and a few more


class KilledError(BaseException):
    """The process ends here."""


class Reaper:
    """Kills a process at its n-th event: before and after each record of the journal and each frame that is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for owner, name in ((RecordFile, "append"), (Link, "write")):
            monkeypatch.setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, call):  # type: ignore[no-untyped-def]
        def watched(*args, **kwargs):  # type: ignore[no-untyped-def]
            self._event()
            result = call(*args, **kwargs)
            self._event()
            return result

        return watched

    def _event(self) -> None:
        if self.left == 0:
            raise KilledError
        self.left -= 1


@pytest.fixture
def reaper(monkeypatch: pytest.MonkeyPatch) -> Reaper:
    return Reaper(monkeypatch)


def sleep(model: BoardModel) -> None:
    model.heard -= 60.0  # so long ago was the last frame


def program(chip: HardwareBackend, model: BoardModel, journal: Path, asleep: bool) -> None:
    chip.keep_journal(journal, resume=True)
    chip.arm()
    array = chip.allocate("W", 2, 2)
    for _ in range(ROUNDS):
        chip.run([Pulse(array, counted_pulses(torch.ones(2, 2, dtype=torch.int64)))])
        if asleep:
            sleep(model)  # before the next batch


def process(model: BoardModel, port: str, journal: Path, asleep: bool) -> None:
    """Run the program as a process that can be killed: nothing is put at rest then."""
    chip = make("serial-board", port=port, chip="emulated-64", state=str(journal.parent / "state"))
    assert isinstance(chip, HardwareBackend)
    try:
        program(chip, model, journal, asleep)
    finally:
        chip._state.closed = True
        chip._ledger.close()
        chip._driver.close()
        chip._care.owner.release()


def killed(reaper: Reaper, after: int, *args: object) -> bool:
    """Tell whether a process was killed after so many events; where it has fewer, it came to its end."""
    reaper.left = after
    try:
        process(*args)  # type: ignore[arg-type]
    except KilledError:
        return True
    finally:
        reaper.left = -1
    return False


def kinds(path: Path) -> list[Type]:
    return [line.type for line in lines(path)]


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize(("times", "cases"), [(1, POINTS), (2, 100), pytest.param(3, 1000, marks=pytest.mark.slow)])
def test_killed_anywhere_again_and_again_each_batch_is_done_once(
    times: int, cases: int, asleep: bool, modelled: tuple[BoardModel, str], reaper: Reaper, tmp_path: Path
) -> None:
    model, port = modelled
    most, everywhere = 0, list(itertools.product(range(POINTS), repeat=times))
    for points in random.Random(times).sample(everywhere, cases):
        path, before = tmp_path / "-".join(map(str, points)), model.pulses
        for after in points:
            if killed(reaper, after, model, port, path, asleep):
                most = max(most, after)
            if asleep:
                sleep(model)  # before the next process
        process(model, port, path, asleep)
        found = kinds(path)
        assert (found.count(Type.INTENT), found.count(Type.RESULT)) == (ROUNDS, ROUNDS), points
        assert Type.UNCERTAIN not in found, points
        assert model.pulses - before == PULSES * ROUNDS, points
    assert most > POINTS // 2
