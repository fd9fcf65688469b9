"""A run that ended in the middle of a batch, and a new one that knows nothing of it: it is told what became of that."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware import earlier
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.journal import Journal
from rpudriver.backends.hardware.journal_file import RecordFile
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.registry import make
from rpudriver.errors import JournalError, LinkLostError
from rpudriver.types import Read
from tests.backends.hardware.board_model import BoardModel
from tests.backends.hardware.boards import exact_board, modelled, open_on
from tests.backends.hardware.test_bad_inputs import changed
from tests.backends.hardware.test_broken_off import FATES, breaking, pulse

__all__ = ["exact_board", "modelled"]  # fixtures

TOLD = {
    "done": r"middle of batch 1 of .*{name}, which was done; it pulses array 0 rows 0..1 columns 0..1",
    "not done": r"middle of batch 1 of .*{name}, which was not done; it pulses array 0 rows 0..1 columns 0..1",
    "uncertain": r"middle of batch 1 of .*{name}; whether that was done is not known: array 0 rows 0..1 columns 0..1 "
    r"may have had its pulses. Read these devices",
}
OUTCOMES = {"done": Type.RESULT, "not done": Type.NOT_DONE, "uncertain": Type.UNCERTAIN}
BEFORE = "the run before this one"

# Killed in the middle of its second batch: before its frame is on the cable, or when the board has answered.
PROGRAM = """
import os, signal, sys, torch
from rpudriver.backends.hardware.serial.link import Link
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse
port, state, fate = sys.argv[1:]
chip = make("serial-board", port=port, chip="emulated-64", state=state)
chip.arm()
array = chip.allocate("W", 2, 2)
chip.run([Pulse(array, counted_pulses(torch.full((2, 2), 1)))])
read = Link.read
def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if fate == "not done":
    Link.write = killed
else:
    Link.read = lambda self, seconds: read(self, seconds) and killed()
chip.run([Pulse(array, counted_pulses(torch.full((2, 2), 2)))])
"""


def opened(port: str, folder: Path, **options: Any) -> Any:
    return make("serial-board", **{"port": port, "chip": "emulated-64", "state": str(folder)} | options)


def journals(folder: Path) -> list[Path]:
    files = (folder / "emulated-64/journals").glob("*.journal")
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def last(path: Path) -> Type:
    """Return what the last record of a journal is that is not for people."""
    return [line.type for line in lines(path) if line.type is not Type.NOTE][-1]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about the run before, and forget them."""
    found = [record.getMessage() for record in caplog.records if BEFORE in record.getMessage()]
    caplog.clear()
    return found


@pytest.mark.parametrize("fate", TOLD)
def test_a_new_run_tells_in_which_batch_a_killed_one_ended(
    fate: str, exact_board: EmulatedBoard, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact_board.oracle.set_weights(0, 0.0)
    words = [sys.executable, "-c", PROGRAM, exact_board.port, str(tmp_path), fate]
    assert subprocess.run(words, check=False, timeout=60).returncode == -signal.SIGKILL
    if fate == "uncertain":
        exact_board.kill_firmware()
        exact_board.start_firmware()
    (left,) = journals(tmp_path)
    assert last(left) is Type.INTENT
    with open_on(exact_board, tmp_path) as chip:
        chip.arm()
        (text,) = told(caplog)
        array = chip.allocate("W", 2, 2)
        chip.run([pulse(array, 4)])
        chip.arm()
    assert re.search(TOLD[fate].format(name=left.name), text), text
    assert last(left) is OUTCOMES[fate]
    times = 1 + (0 if fate == "not done" else 2) + 4
    assert np.allclose(exact_board.weights(0)[:2, :2], 0.012 * times, atol=1e-6)  # nothing was sent again
    with open_on(exact_board, tmp_path) as chip:
        chip.arm()
    assert not told(caplog)


def broken_off(model: BoardModel, port: str, folder: Path, fate: str = "not done", **options: Any) -> Path:
    """Have a run lose its link in its second batch; return its journal."""
    with opened(port, folder, **options) as chip:
        chip.arm()
        array = chip.allocate("W", 2, 2)
        chip.run([pulse(array, 1)])
        with breaking(model, fate, LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.run([pulse(array, 2)])
    return journals(folder)[-1]


def test_another_profile_is_not_asked_of_the_board(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    other = changed(tmp_path, ("batch_s = 0.2", "batch_s = 0.1"))
    path = broken_off(model, port, tmp_path, "done", chip=other)
    before = path.read_bytes()
    for _ in range(2):
        with opened(port, tmp_path) as chip:
            chip.arm()
            chip.arm()
        (text,) = told(caplog)  # once in a process
        assert f"batch 1 of {path}; whether that was done is not known (it has another profile" in text
        assert path.read_bytes() == before
    with opened(port, tmp_path, chip=other) as chip:
        chip.arm()
        assert "rows 0..1 columns 0..1" in told(caplog)[0]
    assert last(path) is Type.UNCERTAIN  # the board has been armed twice since, and cannot tell


def test_a_dry_run_knows_nothing_of_a_board(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    path = broken_off(model, port, tmp_path, "done")
    with make("dry-run", chip="emulated-64", state=str(tmp_path)) as chip:
        with pytest.raises(JournalError, match="dry run"):
            chip.keep_journal(path, resume=True)
        chip.arm()
    assert "is not known" in told(caplog)[0]
    with opened(port, tmp_path) as chip:
        chip.arm()
    assert "was done" in told(caplog)[0]
    assert last(path) is Type.RESULT


def spoiled(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def foreign(path: Path) -> None:
    """Make it a journal whose first record says nothing that is known here."""
    path.unlink()
    record_file = RecordFile(path, new=True, power=False)
    record_file.append(Type.OPEN, b"[]")
    record_file.close()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoiled(lambda data: data[:200] + b"x" + data[201:]), "is damaged at byte"),
        (spoiled(lambda data: b"nonsense" * 9), "is damaged at byte 0"),
        (foreign, "is not a journal of version"),
        (spoiled(lambda data: b""), None),
        (as_folder, None),
        (Path.unlink, None),
        (lambda path: path.chmod(0), "cannot be told"),
    ],
)
def test_no_journal_keeps_a_new_run_from_its_chip(
    spoil: Callable[[Path], None],
    says: str | None,
    modelled: tuple[BoardModel, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, port = modelled
    path = broken_off(model, port, tmp_path)
    spoil(path)
    unreadable = path.is_file() and not os.access(path, os.R_OK)
    with opened(port, tmp_path) as chip:
        chip.arm()
        texts = told(caplog)
        chip.run([pulse(chip.allocate("W", 2, 2), 4)])
    assert model.pulses == 4 * (1 + 4)
    if says is None:
        assert not texts
    elif says != "cannot be told" or unreadable:  # root reads everything
        assert says in texts[0]


def test_a_full_disk_does_not_either(
    modelled: tuple[BoardModel, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, port = modelled
    broken_off(model, port, tmp_path)

    def full(self: Journal, number: int) -> None:
        raise JournalError("no room")

    monkeypatch.setattr(Journal, "not_done", full)
    with opened(port, tmp_path) as chip:
        chip.arm()
        first, second = told(caplog)
        assert "cannot be told: no room" in first
        assert "is not known" in second
        chip.run([pulse(chip.allocate("W", 2, 2), 4)])


def test_a_link_that_breaks_meanwhile_does_and_the_next_arming_tells(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    broken_off(model, port, tmp_path, "done")
    with opened(port, tmp_path) as chip:
        with breaking(model, "not done", LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.arm()
        assert not told(caplog)
        chip.arm()
        assert "was done" in told(caplog)[0]


def test_only_the_newest_is_read_and_a_run_of_this_process_is_not_the_one_before(
    modelled: tuple[BoardModel, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    old = broken_off(model, port, tmp_path, "uncertain")
    for n in range(300):
        path = old.with_name(f"{n}.journal")
        path.write_bytes(old.read_bytes())
        os.utime(path, ns=(n, n))
    read: list[Path] = []
    sound = earlier.header_of
    monkeypatch.setattr(earlier, "header_of", lambda path: (read.append(path), sound(path))[1])
    with opened(port, tmp_path) as chip:
        chip.arm()
        assert read == [old]
        assert told(caplog)
        array = chip.allocate("W", 2, 2)
        with breaking(model, "uncertain", LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.run([pulse(array, 2)])
        chip.arm()
        assert FATES["uncertain"].replace("batch 1", "batch 0") in caplog.text
        assert not told(caplog)
        chip.run([pulse(array, 1)])
    with opened(port, tmp_path) as chip:
        chip.arm()
    assert len(read) == 2
    assert not told(caplog)  # the newest ended well


def test_of_journals_of_the_same_moment_the_name_tells_the_newest(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    paths = [broken_off(model, port, tmp_path, "uncertain")]
    for _ in range(2):
        with opened(port, tmp_path) as chip:
            chip.arm()
            chip.run([pulse(chip.allocate("W", 2, 2), 1)])
        paths.append(journals(tmp_path)[-1])
    assert max(paths) == paths[-1]
    for again in (paths[0], paths[-1]):  # whichever a folder lists first
        content = again.read_bytes()
        again.unlink()
        again.write_bytes(content)
        for path in paths:
            os.utime(path, ns=(1, 1))
        caplog.clear()
        with opened(port, tmp_path) as chip:
            chip.arm()
        assert not told(caplog)


def test_going_on_with_that_run_settles_it(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    path = broken_off(model, port, tmp_path, "uncertain")
    with opened(port, tmp_path) as chip:
        chip.keep_journal(path, resume=True)
        chip.arm()
        array = chip.allocate("W", 2, 2)
        for count in (1, 2):
            chip.run([pulse(array, count)])
    assert last(path) is Type.REREAD
    with opened(port, tmp_path) as chip:
        chip.arm()
    assert not told(caplog)


def test_a_read_in_the_middle_harms_nothing(
    modelled: tuple[BoardModel, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, port = modelled
    with opened(port, tmp_path) as chip:
        chip.arm()
        array = chip.allocate("W", 2, 2)
        with breaking(model, "uncertain", LinkLostError("gone")), pytest.raises(LinkLostError):
            chip.run([Read(((array, 1.0),), torch.eye(2))])
    with opened(port, tmp_path) as chip:
        chip.arm()
    assert not told(caplog)
