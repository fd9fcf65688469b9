"""A batch that breaks off, and a program that goes on: `arm` finds out what became of it, and any step may follow."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.registry import make
from rpudriver.errors import BoardError, JournalError, LinkLostError, NotArmedError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Pulse, Read
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import modelled

__all__ = ["modelled"]  # a fixture

FATES = {
    "done": "batch 1 broke off, and was done; what followed",
    "not done": "batch 1 broke off, and was not done, and is not sent any more; what followed",
    "uncertain": "batch 1 broke off, and may have been done or not: the devices that it was to pulse are read into",
}


def opened(port: str, folder: Path, resume: bool) -> CrossbarBackend:
    chip = make("serial-board", port=port, chip="emulated-64", state=str(folder))
    chip.keep_journal(folder / "j", resume=resume)
    chip.arm()
    return chip


def pulse(array: Array, count: int) -> Pulse:
    return Pulse(array, counted_pulses(torch.full((2, 2), count)))


def kinds(folder: Path) -> list[str]:
    return [line.type.name for line in lines(folder / "j") if line.type not in (Type.OPEN, Type.NOTE)]


@contextmanager
def breaking(model: BoardModel, fate: str, error: BaseException) -> Iterator[None]:
    """Break the link at the next frame, which arrives before that, or does not."""

    def write(self: Link, data: bytes) -> None:
        if fate != "not done":
            model.receive(data.strip(b"\0"))
        if fate == "uncertain":
            model.boot += 1
        self.close()
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "write", write)
        yield


def program(chip: CrossbarBackend, breaks: AbstractContextManager[None]) -> list[torch.Tensor]:
    """Pulse, lose a batch, arm, go on with something else; return what was read."""
    array = chip.allocate("W", 2, 2)
    read = Read(((array, 1.0),), torch.eye(2))
    chip.run([pulse(array, 1)])
    with breaks, pytest.raises((LinkLostError, KeyboardInterrupt)):
        chip.run([pulse(array, 2)])
    chip.arm()
    found = chip.run([pulse(array, 4), read]) + chip.run([read])
    return [result.values for result in found]


@pytest.mark.parametrize("error", [LinkLostError("gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("fate", FATES)
def test_any_step_may_follow_a_batch_that_broke_off(
    fate: str,
    error: BaseException,
    modelled: tuple[BoardModel, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, port = modelled
    with opened(port, tmp_path, resume=False) as chip:
        found = program(chip, breaking(model, fate, error))
    assert FATES[fate] in caplog.text
    assert model.pulses == 4 * (1 + (0 if fate == "not done" else 2) + 4)
    outcome = {"done": "RESULT", "not done": "NOT_DONE", "uncertain": "UNCERTAIN"}[fate]
    read_back = ["REREAD"] if fate == "uncertain" else []
    assert kinds(tmp_path) == [
        *("INTENT", "RESULT"),
        *("INTENT", outcome, "LEFT", *read_back),
        *("INTENT", "RESULT") * 2,
    ]
    done = model.done
    with opened(port, tmp_path, resume=True) as chip:  # the program is told the same, and nothing is sent
        again = program(chip, nullcontext())
        assert model.done == done
        assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
        chip.run([pulse(chip.allocate("W", 2, 2), 1)])  # here the journal ends
        assert model.done == done + 1
    with opened(port, tmp_path, resume=True) as chip:
        array = chip.allocate("W", 2, 2)
        chip.run([pulse(array, 1)])
        with pytest.raises(JournalError, match=r"batch 1 of .* is not what this run does now"):
            chip.run([pulse(array, 3)])


def test_nothing_is_sent_before_it_is_known_what_became_of_it(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    model, port = modelled
    with opened(port, tmp_path, resume=False) as chip:
        array = chip.allocate("W", 2, 2)
        with breaking(model, "not done", LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.run([pulse(array, 1)])
        for _ in range(2):
            with pytest.raises(NotArmedError, match=r"batch 0 broke off \(LinkLostError: gone\); arm the chip again"):
                chip.run([pulse(array, 1)])
        with breaking(model, "not done", LinkLostError("gone once more")), pytest.raises(LinkLostError):
            chip.arm()
        with pytest.raises(NotArmedError):
            chip.run([pulse(array, 1)])
        chip.arm()
        chip.run([pulse(array, 1)])
        assert model.pulses == 4


def test_a_chip_whose_link_breaks_while_it_is_armed_can_be_armed_again(
    modelled: tuple[BoardModel, str], tmp_path: Path
) -> None:
    model, port = modelled
    with make("serial-board", port=port, chip="emulated-64", state=str(tmp_path)) as chip:
        with breaking(model, "not done", LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.arm()
        chip.arm()
        chip.run([pulse(chip.allocate("W", 2, 2), 1)])
        assert model.pulses == 4


def test_a_refused_batch_is_not_sent_later(modelled: tuple[BoardModel, str], tmp_path: Path) -> None:
    model, port = modelled
    with opened(port, tmp_path, resume=False) as chip:
        array = chip.allocate("W", 2, 2)
        model.arrays, before = 0, model.pulses
        with pytest.raises(BoardError, match="nothing was done"):
            chip.run([pulse(array, 1)])
        model.arrays = 16
        chip.arm()
        chip.run([Read(((array, 1.0),), torch.eye(2))])
        assert model.pulses == before
    assert kinds(tmp_path) == ["INTENT", "NOT_DONE", "LEFT", "INTENT", "RESULT"]


@pytest.mark.parametrize("fate", FATES)
def test_of_a_resumed_run_it_is_done_when_its_turn_comes(
    fate: str, modelled: tuple[BoardModel, str], tmp_path: Path
) -> None:
    model, port = modelled
    with opened(port, tmp_path, resume=False) as chip:
        array = chip.allocate("W", 2, 2)
        chip.run([pulse(array, 1)])
        with breaking(model, fate, LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.run([pulse(array, 2)])
    with opened(port, tmp_path, resume=True) as chip:
        array = chip.allocate("W", 2, 2)
        for _ in range(2):
            chip.arm()
        for count in (1, 2, 4):
            chip.run([pulse(array, count)])
    assert model.pulses == 4 * (1 + 2 + 4)
    assert Type.LEFT.name not in kinds(tmp_path)
