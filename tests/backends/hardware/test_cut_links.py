"""Promises 3, 4 and 8 where the cable is what breaks: both processes go on, and each pulse is applied once."""

import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.registry import make
from rpudriver.errors import LinkLostError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
from tests.backends.hardware.boards import exact_board
from tests.backends.hardware.cable import Cable
from tests.backends.hardware.test_board_runs import board_pulses, done, idle_within

__all__ = ["exact_board"]  # a fixture


def work(cable: Cable, folder: Path, rounds: int, cut_at: float | None) -> bool:
    """Do or go on with a program; return whether it came to its end."""
    start = time.monotonic()
    try:
        with make("serial-board", port=cable.port, chip="emulated-64", state=str(folder)) as chip:
            chip.keep_journal(folder / "j", resume=True)
            chip.arm()
            array = chip.allocate("W", 8, 8)
            draw = torch.Generator().manual_seed(1)
            for _ in range(rounds):
                counts = torch.randint(-2, 3, (8, 8), generator=draw)
                chip.run([Pulse(array, counted_pulses(counts)), Read(((array, 1.0),), torch.eye(8))])
                if cut_at is not None and time.monotonic() - start > cut_at:
                    cable.cut()
    except LinkLostError:
        return False
    return True


@pytest.mark.parametrize("cuts", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_a_cut_cable_repeats_nothing(cuts: int, exact_board: EmulatedBoard, tmp_path: Path) -> None:
    rounds, chance = 400 + 100 * cuts, random.Random(cuts)
    before = board_pulses(exact_board, tmp_path)
    cable = Cable(exact_board.port)
    lost = 0
    for n in range(cuts):
        lost += not work(cable, tmp_path, rounds, cut_at=chance.uniform(0.0, 0.1) + 0.003 * n)
        if n == 0:
            assert idle_within(exact_board, 0.5, tmp_path)
    assert lost == cuts
    assert work(cable, tmp_path, rounds, cut_at=None)
    cable.close()
    counts, total, uncertain = done(tmp_path / "j")
    kinds = [line.type for line in lines(tmp_path / "j")]
    assert kinds.count(Type.INTENT) == rounds  # each batch was meant once
    assert uncertain == 0  # the board is up all the time: it knows
    assert kinds.count(Type.NOT_DONE) == kinds.count(Type.AGAIN) > 0  # some never arrived, and got another number
    draw = torch.Generator().manual_seed(1)
    meant = [torch.randint(-2, 3, (8, 8), generator=draw) for _ in range(rounds)]
    applied = board_pulses(exact_board, tmp_path) - before
    assert applied == total == sum(int(counts.abs().sum()) for counts in meant)
    assert np.array_equal(counts[:8, :8], np.asarray(sum(meant)))
