"""What people do all day, on the emulated board: train, stop, go on, calibrate, take the network out; and kills."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.cli.main import main
from rpudriver.errors import LinkLostError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.boards import board, exact_board, open_on

__all__ = ["board", "exact_board"]  # fixtures


def done(path: Path) -> tuple[np.ndarray, int, int]:
    """Return the signed pulses of batches known to be done on array 0, their number, and how many are uncertain."""
    counts, total, uncertain, waiting = np.zeros((64, 64), np.int64), 0, 0, b""
    for line in lines(path):
        if line.type is Type.INTENT:
            waiting = line.content[1]
        uncertain += line.type is Type.UNCERTAIN
        for op in wire.decode(waiting, 7) if line.type is Type.RESULT else []:
            if isinstance(op, wire.PulseOperation):
                assert op.where.array == 0
                part = counts[op.where.row :, op.where.column :][: op.where.rows, : op.where.columns]
                part += op.counts()
                total += sum(int(abs(s.counts(op.flip)).sum()) for s in op.samples) * op.repeat
    return counts, total, uncertain


PROGRAM = """
import sys, torch
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
port, state, journal, rounds = sys.argv[1:]
chip = make("serial-board", port=port, chip="emulated-64", state=state)
chip.keep_journal(__import__("pathlib").Path(journal), resume=True)
chip.arm()
array = chip.allocate("W", 8, 8)
draw = torch.Generator().manual_seed(1)
for n in range(int(rounds)):
    counts = torch.randint(-2, 3, (8, 8), generator=draw)
    steps = [Pulse(array, counted_pulses(counts)), Read(((array, 1.0),), torch.eye(8))]
    chip.run(steps)
    print(n, flush=True)
chip.close()
"""


def run_program(board: EmulatedBoard, folder: Path, rounds: int) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", PROGRAM, board.port, str(folder), str(folder / "j"), str(rounds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(program: "subprocess.Popen[str]", count: int) -> int:
    """Wait until a program has printed so many lines; return how many it printed."""
    assert program.stdout is not None
    return sum(1 for _ in zip(range(count), program.stdout, strict=False))


def idle_within(board: EmulatedBoard, seconds: float, tmp_path: Path) -> bool:
    """Return whether the board is found not armed after so long, by somebody who only looks."""
    time.sleep(seconds)
    with open_on(board, tmp_path / "looker") as chip:
        return not chip.identity.armed  # type: ignore[attr-defined]


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_host_repeats_nothing_and_loses_nothing(
    kills: int, exact_board: EmulatedBoard, tmp_path: Path
) -> None:
    rounds, chance = 60 + 20 * kills, random.Random(kills)
    exact_board.oracle.set_weights(0, 0.0)
    with open_on(exact_board, tmp_path) as chip:
        before = chip.identity.pulses  # type: ignore[attr-defined]
    for _ in range(kills):
        program = run_program(exact_board, tmp_path, rounds)
        until(program, chance.randrange(1, rounds))
        time.sleep(chance.random() * 0.01)
        program.kill()
        program.communicate()
    assert idle_within(exact_board, 0.5, tmp_path)
    program = run_program(exact_board, tmp_path, rounds)
    _, problem = program.communicate()
    assert program.returncode == 0, problem
    counts, total, uncertain = done(tmp_path / "j")
    assert uncertain == 0  # the board was up all the time: it knows
    with open_on(exact_board, tmp_path) as chip:
        assert chip.identity.pulses - before == total  # type: ignore[attr-defined]
    draw = torch.Generator().manual_seed(1)
    wanted = sum(torch.randint(-2, 3, (8, 8), generator=draw) for _ in range(rounds)).numpy()
    assert np.array_equal(counts[:8, :8], wanted)


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_board_leaves_one_batch_uncertain_at_most(
    kills: int, exact_board: EmulatedBoard, tmp_path: Path
) -> None:
    rounds, chance = 60 + 20 * kills, random.Random(kills)
    marked = 0
    for _ in range(kills):
        program = run_program(exact_board, tmp_path, rounds)
        until(program, chance.randrange(1, rounds))
        time.sleep(chance.random() * 0.01)
        exact_board.kill_firmware()
        _, problem = program.communicate()
        assert program.returncode == 0 or "LinkLostError" in problem, problem
        exact_board.start_firmware()
        now = done(tmp_path / "j")[2]
        assert now <= marked + 1
        marked = now
    program = run_program(exact_board, tmp_path, rounds)
    _, problem = program.communicate()
    assert program.returncode == 0, problem
    intents = [line.content[1] for line in lines(tmp_path / "j") if line.type is Type.INTENT]
    assert len(intents) == rounds  # each batch was meant once
    assert done(tmp_path / "j")[2] <= kills
    assert sum(line.type is Type.REREAD for line in lines(tmp_path / "j")) == done(tmp_path / "j")[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outputs_are_idle_after_a_signal(number: int, board: EmulatedBoard, tmp_path: Path) -> None:
    program = run_program(board, tmp_path, 10**6)
    until(program, 5)
    program.send_signal(number)
    program.communicate(timeout=20)
    assert program.returncode in (-number, 128 + number, 1)
    with open_on(board, tmp_path) as chip:
        found = chip.identity  # type: ignore[attr-defined]
    assert (found.armed, found.reason) == (False, "idled on request")  # asked to, not by its watchdog


def test_an_unplugged_board_is_one_error_and_the_chip_goes_on_after_it(board: EmulatedBoard, tmp_path: Path) -> None:
    chip = open_on(board, tmp_path)
    chip.keep_journal(tmp_path / "j", resume=False)
    chip.arm()
    array = chip.allocate("W", 8, 8)
    step = Pulse(array, counted_pulses(torch.full((8, 8), 1)))
    chip.run([step])
    board.kill_firmware()
    with pytest.raises(LinkLostError):
        chip.run([step, Read(((array, 1.0),), torch.eye(8))])
    with pytest.raises(LinkLostError):
        chip.close()
    board.start_firmware()
    with open_on(board, tmp_path) as chip:
        chip.keep_journal(tmp_path / "j", resume=True)
        chip.arm()
        chip.allocate("W", 8, 8)
        chip.run([step])
        (result,) = chip.run([step, Read(((array, 1.0),), torch.eye(8))])  # uncertain: read, not pulsed
        assert result.values.shape == (8, 8)
    assert done(tmp_path / "j")[1:] == (64, 1)


SMALL = ["--set", "training.epochs=1", "--set", "training.batch=64", "--set", "network.layers=[64,10]", "--quiet"]


def on_board(board: EmulatedBoard) -> list[str]:
    return ["--set", f"backend.port={board.port}"]


def board_pulses(board: EmulatedBoard, tmp_path: Path) -> Any:
    with open_on(board, tmp_path / "look") as chip:
        return chip.identity.pulses  # type: ignore[attr-defined]


def test_a_trained_network_comes_off_the_chip_and_is_not_written_again(
    board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path / "state"))
    run = str(tmp_path / "run")
    assert main(["train", "digits-ttv2-board", "--out", run, *SMALL, *on_board(board)]) == 0
    pulses = board_pulses(board, tmp_path)
    for out in ("net", "net2"):  # a second time as well
        words = ["calibrate", "extract", "--run", run, "--out", str(tmp_path / out), "--target", "0.02", "--quiet"]
        assert main(words) == 0
    assert board_pulses(board, tmp_path) == pulses
    (tmp_path / "run/chip.journal").unlink()
    assert main(["calibrate", "extract", "--run", run, "--out", str(tmp_path / "net3"), "--quiet"]) == 2
    assert board_pulses(board, tmp_path) == pulses


def test_a_run_killed_anywhere_is_the_uninterrupted_one(
    exact_board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path / "state"))
    words = ["train", "digits-ttv2-board", *SMALL, *on_board(exact_board)]

    def start(out: str, *more: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "rpudriver.cli.main", *words, "--out", str(tmp_path / out), *more]
        return subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE)

    results = []
    for out in ("whole", "pieces"):
        for array in range(16):
            exact_board.oracle.set_weights(array, 0.0)
        program = start(out)
        if out == "pieces":
            journal = tmp_path / out / "chip.journal"
            while not journal.exists() or journal.stat().st_size < 40_000:
                time.sleep(0.005)
            program.kill()
            program.communicate()
            program = start(out, "--resume")
        _, problem = program.communicate()
        assert program.returncode == 0, problem
        results.append(json.loads((tmp_path / out / "result.json").read_text()))
    for result in results:
        for record in (result, *result["curve"]):
            record.pop("wall_time_s")
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "words",
    [
        ["characterise", "--cycles", "1", "--points", "6", "--singles", "4"],
        ["zero-shift", "--pulses", "100"],
        ["extract", "--target", "0.02"],
    ],
)
def test_calibration_runs_on_the_board(
    words: list[str], board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path / "state"))
    backend = ["--backend", "serial-board", "--set", f"port={board.port}", "--set", "chip=emulated-64"]
    out = tmp_path / "out"
    assert main(["calibrate", *words, *backend, "--rows", "4", "--columns", "4", "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / "result.json").read_text())["procedure"]
    assert (out / "chip.journal").exists()


def test_commands_for_people(
    board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path))
    chip = ["serial-board", "--set", f"port={board.port}", "--set", "chip=emulated-64"]
    assert main(["chip", "status", *chip]) == 0
    assert "emulated-64" in capsys.readouterr().out
    assert main(["chip", "arm", *chip]) == 0
    assert main(["chip", "pulse", *chip, "--count", "30", "--rows", "2", "--columns", "2"]) == 0
    moved = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()[3:]]
    assert len(moved) == 4
    assert all(change > 0 for change in moved)
    assert main(["chip", "self-test", *chip, "--rows", "2", "--columns", "2", "--expect", "-5"]) == 1
    assert main(["chip", "idle", *chip]) == 0
    assert main(["chip", "limits", "emulated-64"]) == 0
    capsys.readouterr()
    (made,) = (
        path
        for path in (tmp_path / "emulated-64/journals").iterdir()
        if any(line.type is Type.INTENT and line.content[1][0] == wire.PULSE for line in lines(path))
    )
    assert main(["chip", "journal", str(made), "--csv"]) == 0
    rows = capsys.readouterr().out.split()
    assert rows[1:] == [f"1,0,0,{row},{column},2,30" for row in range(2) for column in range(2)]
    assert main(["chip", "journal", str(made)]) == 0
    assert "pulse kind 2" in capsys.readouterr().out
    assert main(["chip", "status", "simulated"]) == 2
    assert main(["chip", "status", "serial-board", "--set", "port=/nowhere", "--set", "chip=emulated-64"]) == 2
    assert main(["chip", "journal", "/nowhere"]) == 2
    assert main(["chip", "pulse", *chip, "--count", "0"]) == 2
