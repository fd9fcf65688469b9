"""Promise 4 with `durable="power"`: what is on the disk before anything is sent. Power itself was never cut."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from rpudriver.backends.hardware import journal_file
from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.dry_run import NoBoard
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to a journal and to the board, in order."""
    found: list[str] = []
    append, run = journal_file.RecordFile.append, NoBoard.run

    def note_append(self: Any, number: int, payload: bytes, sync: bool = False) -> Any:
        found.append(f"append {number}")
        return append(self, number, payload, sync)

    def note_run(self: NoBoard, ticket: Ticket, operations: bytes) -> Reply:
        found.append("run")
        return run(self, ticket, operations)

    def note_sync(fd: int) -> None:
        found.append("sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")

    monkeypatch.setattr(journal_file.RecordFile, "append", note_append)
    monkeypatch.setattr(NoBoard, "run", note_run)
    monkeypatch.setattr(os, "fdatasync", note_sync)
    monkeypatch.setattr(os, "fsync", note_sync)
    return found


@pytest.mark.parametrize("of_a_run", [False, True])
def test_intent_and_result_are_on_the_disk_before_it_goes_on(of_a_run: bool, seen: list[str], tmp_path: Path) -> None:
    """The name of a new file, too; a note may be lost."""
    opening, batch = ["append 1", "sync file"], ["append 2", "sync file", "run", "append 3", "sync file"]
    for durable in ("power", "process"):
        seen.clear()
        with make("dry-run", chip="emulated-64", state=str(tmp_path / durable), durable=durable) as chip:
            if of_a_run:
                chip.keep_journal(tmp_path / durable / "j", resume=False)
            chip.arm()
            chip.run([Pulse(chip.allocate("W", 2, 2), counted_pulses(torch.full((2, 2), 1)))])
        kept = [what for what in seen if what != "append 6"]  # a note
        if durable == "power":
            assert kept == ["sync folder", *opening, *batch]
        else:
            assert kept == [what for what in opening + batch if "sync" not in what]
