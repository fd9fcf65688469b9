"""The emulated board with a chip that cannot be read backwards: training through a digital copy of its weights."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.profile import CHIPS
from rpudriver.cli.main import main
from tests.backends.hardware.boards import board, exact_board

__all__ = ["board", "exact_board"]  # fixtures

SMALL = ["--set", "training.epochs=1", "--set", "training.batch=64", "--set", "network.layers=[64,8,10]", "--quiet"]
SHADOW = ["--set", "training.backward=shadow", "--set", "training.shadow_every=5"]
EXTRACTIONS, VECTORS = 5, 32  # after 0, 5, .. 20 of 23 mini-batches; twice 16 for 8 hidden units and a bias


@pytest.fixture
def one_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the profile of a chip whose board is wired for forward reads only."""
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path / "state"))
    text = (CHIPS / "emulated-64.toml").read_text()
    profile = tmp_path / "one-way.toml"
    profile.write_text(text.replace("transposed_reads = true", "transposed_reads = false"))
    assert profile.read_text() != text
    return str(profile)


def words(board: EmulatedBoard, profile: str, out: Path) -> list[str]:
    on_board = ["--set", f"backend.port={board.port}", "--set", f"backend.chip={profile}"]
    return ["train", "digits-ttv2-board", "--out", str(out), *SMALL, *on_board]


def reads(journal: Path) -> list[Any]:
    """Return all reads that a journal's batches ask for."""
    intents = [line.content[1] for line in lines(journal) if line.type is Type.INTENT]
    return [op for batch in intents for op in wire.decode(batch, 7) if isinstance(op, wire.ReadOperation)]


def test_a_board_without_transposed_reads_trains(
    board: EmulatedBoard, one_way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(board, one_way, out)) == 2
    assert "this chip has no transposed reads, which back-propagation needs; train with backward = 'shadow'" in (
        capsys.readouterr().err
    )
    assert not out.exists()
    assert main([*words(board, one_way, out), *SHADOW]) == 0
    shadow, cost = (json.loads((out / "result.json").read_text())[key] for key in ("shadow", "cost"))
    assert (shadow["extractions"], shadow["reads"]) == (EXTRACTIONS, EXTRACTIONS * VECTORS)
    assert 0 < shadow["chip_time_s"] < cost["chip_time_s"]
    sent = reads(out / "chip.journal")
    assert len(sent) > 100
    assert not any(read.transposed for read in sent)


def test_a_run_killed_with_a_copy_half_old_is_the_uninterrupted_one(
    exact_board: EmulatedBoard, one_way: str, tmp_path: Path
) -> None:
    results = []
    for out in (tmp_path / "whole", tmp_path / "pieces"):
        for array in range(16):
            exact_board.oracle.set_weights(array, 0.0)
        command = [sys.executable, "-m", "rpudriver.cli.main", *words(exact_board, one_way, out), *SHADOW]
        if out.name == "pieces":
            started = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)
            journal, whole = out / "chip.journal", (tmp_path / "whole/chip.journal").stat().st_size
            while not journal.exists() or journal.stat().st_size < 0.8 * whole:
                time.sleep(0.001)
            started.kill()
            started.communicate()
            assert not (out / "result.json").exists()
            command.append("--resume")
        done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(json.loads((out / "result.json").read_text()))
    for result in results:
        assert result["shadow"]["extractions"] == EXTRACTIONS
        for record in (result, *result["curve"]):
            record.pop("wall_time_s")
    assert results[0] == results[1]
