"""Promise 1 over random sequences: what is beyond a limit, by however little, sends nothing; what is at it is sent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.dry_run import NoBoard
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.errors import RpuDriverError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Pulse, Read, Step, Wait

MAX_BL, MAX_INPUT, BUDGET, LINES = 12, 0.5, 2000, 6
PROFILE = Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml"
NEXT_INPUT = float(np.nextafter(np.float32(MAX_INPUT), np.float32(1)))  # the least that is too much
NEXT_BUT_ONE = float(np.nextafter(np.float32(NEXT_INPUT), np.float32(1)))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What reaches the driver."""
    found: list[bytes] = []
    run = NoBoard.run

    def note(self: NoBoard, ticket: Ticket, operations: bytes) -> Reply:
        found.append(operations)
        return run(self, ticket, operations)

    monkeypatch.setattr(NoBoard, "run", note)
    return found


@pytest.fixture
def chip(tmp_path: Path) -> Any:
    profile = tmp_path / "p.toml"
    profile.write_text(PROFILE.read_text().replace("device_pulses = 1_000_000_000", f"device_pulses = {BUDGET}"))
    with make("dry-run", chip=str(profile)) as opened:
        opened.arm(Limits(kinds=frozenset({"update"}), max_bl=MAX_BL, max_input=MAX_INPUT))
        yield opened


class Sequences:
    """Random sequences of steps, and whether they are within the limits: the rules written once more."""

    def __init__(self, seed: int, array: Array) -> None:
        self._dice, self._array = np.random.default_rng(seed), array
        self.used = np.zeros((LINES, LINES), np.int64)  # pulses of each device that were sent

    def draw(self) -> tuple[list[Step], bool]:
        steps, fine, meant = [], True, self.used.copy()
        for _ in range(self._dice.integers(1, 5)):
            step, good, pulses = self._step()
            steps.append(step)
            fine, meant = fine and good, meant + pulses
        fine &= bool(meant.max() <= BUDGET)
        if fine:
            self.used = meant
        return steps, fine

    def _step(self) -> tuple[Step, bool, Any]:
        choice = self._dice.random()
        if choice < 0.45:
            return self._pulse()
        if choice < 0.9:
            return self._read()
        seconds = float(self._dice.choice([1e-6, 1e-3, -1.0, np.nan]))
        return Wait(seconds) if seconds >= 0 else Wait(1e-6), True, 0

    def _pulse(self) -> tuple[Step, bool, Any]:
        most = int(
            self._dice.choice(
                [1, MAX_BL - 1, MAX_BL, MAX_BL, MAX_BL, MAX_BL + 1, 40], p=[0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1]
            )
        )
        counts = self._dice.integers(-most, most + 1, (LINES, LINES))
        counts[0, 0] = most
        kind = str(self._dice.choice(["update", "set"], p=[0.93, 0.07]))
        repeat = int(self._dice.choice([1, 2, 30], p=[0.8, 0.15, 0.05]))
        step = Pulse(self._array, counted_pulses(torch.from_numpy(counts)), kind, repeat=repeat)
        return step, most <= MAX_BL and kind == "update", np.abs(counts) * repeat

    def _read(self) -> tuple[Step, bool, Any]:
        x = self._dice.uniform(-0.4, 0.4, (2, LINES)).astype(np.float32)
        edge = self._dice.choice([0.1, MAX_INPUT, -MAX_INPUT, NEXT_BUT_ONE, -NEXT_BUT_ONE, 0.6, np.nan, np.inf],
                                 p=[0.3, 0.2, 0.2, 0.06, 0.06, 0.06, 0.06, 0.06])  # fmt: skip
        x[1, self._dice.integers(LINES)] = edge
        return Read(((self._array, 1.0),), torch.from_numpy(x)), bool(abs(edge) <= MAX_INPUT), 0


@pytest.mark.parametrize("seed", range(4))
def test_nothing_outside_the_envelope_leaves(seed: int, chip: CrossbarBackend, sent: list[bytes]) -> None:
    sequences = Sequences(seed, chip.allocate("W", LINES, LINES))
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        steps, fine = sequences.draw()
        before = len(sent)
        if fine:
            chip.run(steps)
            assert len(sent) > before
        else:
            with pytest.raises((RpuDriverError, ValueError)):
                chip.run(steps)
            assert len(sent) == before
        outcomes[fine] += 1
        assert chip.wear().most == sequences.used.max()  # type: ignore[attr-defined]
    assert min(outcomes.values()) > 60  # both happen often
    assert sequences.used.max() > BUDGET - 40  # the budget was what refused, too


def test_the_wait_that_is_none_is_refused(chip: CrossbarBackend, sent: list[bytes]) -> None:
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises((RpuDriverError, ValueError)):
            chip.run([Wait(seconds)])
    assert sent == []


def test_a_dry_run_counts_no_pulse_of_the_real_chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPUDRIVER_STATE", str(tmp_path / "state"))
    with make("dry-run", chip="emulated-64", port="/dev/nothing") as chip:
        chip.arm()
        chip.run([Pulse(chip.allocate("W", 2, 2), counted_pulses(torch.full((2, 2), 3)))])
        assert chip.wear().total == 12  # type: ignore[attr-defined]
    with make("dry-run", chip="emulated-64") as chip:
        assert chip.wear().total == 0  # type: ignore[attr-defined]
    assert not (tmp_path / "state").exists()
