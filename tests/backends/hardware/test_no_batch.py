"""A run that sends nothing leaves nothing."""

from pathlib import Path

import pytest
import torch

from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.registry import make
from rpudriver.cli.main import main
from rpudriver.errors import CheckpointError, JournalError
from rpudriver.types import Read

DRY = ["--set", "backend.name=dry-run", "--set", "training.epochs=1", "--set", "training.batch=64", "--quiet"]


def train(out: Path, layers: str) -> int:
    return main(["train", "digits-ttv2-board", *DRY, "--set", f"network.layers={layers}", "--out", str(out)])


def test_a_network_that_does_not_fit_leaves_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(out, "[64,500,10]") == 2
    assert "fit on what is left" in capsys.readouterr().err
    assert not out.exists()
    assert train(out, "[64,10]") == 0
    assert (out / "chip.journal").exists()
    assert train(out, "[64,500,10]") == 2  # another run is there: left alone
    assert (out / "chip.journal").exists()


def test_a_journal_begins_with_the_first_batch(tmp_path: Path) -> None:
    path = tmp_path / "run" / "j"
    for _ in range(2):
        with make("dry-run", chip="emulated-64") as chip:
            chip.keep_journal(path, resume=True)
            chip.arm()
            chip.restore(chip.snapshot())
    assert not path.parent.exists()
    with make("dry-run", chip="emulated-64") as chip:
        chip.keep_journal(path, resume=False)
        for resume in (True, False):
            with pytest.raises(JournalError, match="has a journal already"):
                chip.keep_journal(tmp_path / "other", resume)
        chip.arm()
        array = chip.allocate("W", 2, 2)
        chip.run([Read(((array, 1.0),), torch.eye(2))])
        saved = chip.snapshot()
    found = list(lines(path))
    assert [line.type for line in found] == [Type.OPEN, Type.NOTE, Type.INTENT, Type.RESULT, Type.NOTE]
    assert found[1].content["text"].startswith("armed emulated-64")
    assert found[1].content["date"] <= found[0].content["date"]  # when it was armed
    with make("dry-run", chip="emulated-64") as chip:
        with pytest.raises(JournalError, match="exists: a journal belongs to one run"):
            chip.keep_journal(path, resume=False)
        with pytest.raises(CheckpointError, match="after batch 1, but this run has no journal yet; resume with"):
            chip.restore(saved)
    with make("dry-run", chip="emulated-64") as chip:
        chip.keep_journal(path, resume=True)
        chip.arm()
        chip.allocate("W", 2, 2)
        chip.restore(saved)
        chip.run([Read(((array, 1.0),), torch.eye(2))])
    assert sum(line.type is Type.INTENT for line in lines(path)) == 2  # went on after the snapshot
