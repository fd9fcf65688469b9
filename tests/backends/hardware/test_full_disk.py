"""A disk that fills up, at every place where something is kept: words, outputs at rest, and nothing lost or done twice.

A limit on the size of files is a full disk that every machine has; where a process may have file systems of its own, a
small one in memory is filled as well.
"""

import contextlib
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.ownership import Ownership
from rpudriver.errors import JournalError, OwnerError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.boards import exact_board, open_on

__all__ = ["exact_board"]  # a fixture

INTENT, RESULT = 300, 1100  # bytes of the records of `work`, about: 64 pulses, 64 x 64 codes


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def work(chip: Any) -> torch.Tensor:
    array = chip.allocate("W", 8, 8)
    steps = [Pulse(array, counted_pulses(torch.full((8, 8), 1))), Read(((array, 1.0),), torch.eye(8).repeat(8, 1))]
    values: torch.Tensor = chip.run(steps)[0].values
    return values


def armed(board: EmulatedBoard, tmp_path: Path) -> bool:
    """Return whether the board is found armed by somebody who only looks."""
    with open_on(board, tmp_path / "looker") as chip:
        return bool(chip.identity.armed)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("room", "done"), [(INTENT - 250, False), (INTENT + 400, True)], ids=["intent", "result"])
def test_a_journal_that_cannot_grow_ends_the_run_and_it_goes_on_later(
    room: int, done: bool, exact_board: EmulatedBoard, tmp_path: Path
) -> None:
    """Where the intent does not fit nothing is sent; where the result does not, the board is asked for it later."""
    exact_board.oracle.set_weights(0, 0.0)
    with open_on(exact_board, tmp_path) as chip:
        chip.keep_journal(tmp_path / "j", resume=False)
        chip.arm()
        first, size = work(chip), (tmp_path / "j").stat().st_size
        with no_file_larger_than(size + room):
            with pytest.raises(JournalError, match=r"cannot be written: File too large.*make room, then resume"):
                work(chip)
            chip.close()  # outputs go to rest although nothing can be noted
    assert not armed(exact_board, tmp_path)
    assert np.allclose(exact_board.weights(0)[:8, :8], (2 if done else 1) * 0.012, atol=1e-6)
    assert [line.type for line in lines(tmp_path / "j")].count(Type.INTENT) == (2 if done else 1)
    with open_on(exact_board, tmp_path) as chip:
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        again = [work(chip) for _ in range(2)]
        assert torch.equal(again[0], first)
    assert np.allclose(exact_board.weights(0)[:8, :8], 2 * 0.012, atol=1e-6)
    assert [line.type for line in lines(tmp_path / "j")].count(Type.UNCERTAIN) == 0


def test_a_journal_that_cannot_be_begun_sends_nothing(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    weights = exact_board.weights(0)
    with open_on(exact_board, tmp_path) as chip:
        chip.arm()
        chip.allocate("W", 8, 8)
        with no_file_larger_than(50), pytest.raises(JournalError, match="cannot be written: File too large"):
            work(chip)
        assert not list(chip.journals.iterdir())  # type: ignore[attr-defined]
        shutil.rmtree(chip.journals)  # type: ignore[attr-defined]
        chip.journals.write_text("in the way")  # type: ignore[attr-defined]
        with pytest.raises(JournalError, match=r"cannot be opened: Not a directory|exists"):
            work(chip)
    assert not armed(exact_board, tmp_path)
    assert np.array_equal(exact_board.weights(0), weights)


def test_counters_that_find_no_room_do_not_open_a_chip(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    with no_file_larger_than(1000), pytest.raises(JournalError, match=r"pulse counters .* cannot be used"):
        open_on(exact_board, tmp_path)
    open_on(exact_board, tmp_path).close()


def test_a_lock_holds_on_a_full_disk(tmp_path: Path) -> None:
    with no_file_larger_than(0):
        places = tmp_path / "addresses"
        owner = Ownership.take(tmp_path / "chip", places, ["port"])
        for chip in ("chip", "other"):
            with pytest.raises(OwnerError, match="in use by another process"):
                Ownership.take(tmp_path / chip, places, ["port"])
        owner.release()
        Ownership.take(tmp_path / "chip", places, ["port"]).release()


FILL = """
import os, sys
from pathlib import Path
import torch
from rpudriver.backends.registry import make
from rpudriver.errors import RpuDriverError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse

port, folder = sys.argv[1], Path(sys.argv[2])

def attempt(what):
    try:
        what()
        print("done", flush=True)
    except RpuDriverError as error:
        print(f"{type(error).__name__}: {error}", flush=True)

def fill(name):
    with open(folder / name, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass

def opened():
    return make("serial-board", port=port, chip="emulated-64", state=str(folder))

fill("all")
attempt(opened)  # no room for a folder's lock to say who has it, nor for counters
(folder / "all").unlink()
with opened() as chip:
    chip.arm()
    array = chip.allocate("W", 8, 8)
    step = Pulse(array, counted_pulses(torch.full((8, 8), 1)))
    fill("all")
    for _ in range(40):
        attempt(lambda: chip.run([step]))
    (folder / "all").unlink()
    attempt(lambda: chip.run([step]))
    fill("all")
"""


def may_mount() -> bool:
    """Tell whether a process may have file systems of its own here."""
    words = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(words, capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs unshare -rm, to mount a small disk")
def test_a_small_disk_that_is_full(exact_board: EmulatedBoard, tmp_path: Path) -> None:
    """The real thing: not even counters, which are memory that is a file, end the process."""
    with open_on(exact_board, tmp_path / "looker") as chip:
        before = chip.identity.pulses  # type: ignore[attr-defined]
    script = 'mount -t tmpfs -o size=700k tmpfs "$2" && exec "$0" -c "$3" "$1" "$2"'
    words = ["unshare", "-rm", "sh", "-c", script, sys.executable, exact_board.port, str(tmp_path), FILL]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    opening, *batches = done.stdout.splitlines()
    assert opening.startswith("JournalError: the pulse counters")
    assert "No space left on device" in opening
    full = sum("JournalError" in line and "No space left on device" in line for line in batches)
    assert full > 10
    assert batches.count("done") == 41 - full
    assert batches[-1] == "done"
    assert not armed(exact_board, tmp_path)
    with open_on(exact_board, tmp_path / "looker") as chip:
        assert chip.identity.pulses - before == 64 * batches.count("done")  # type: ignore[attr-defined]
