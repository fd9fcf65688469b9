"""Promises 1 and 10: energy of a sequence, pulses in a device's life, at the edge, over every way to pulse."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.dry_run import NoBoard
from rpudriver.backends.hardware.endurance import DeviceCounters
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.registry import make
from rpudriver.backends.updates import Drawing, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import BackendError, JournalError, LimitError
from rpudriver.trains import TrainSource, counted_pulses
from rpudriver.types import Array, Cell, Port, Pulse

PROFILE = Path(__file__).parents[3] / "backends/hardware/chips/emulated-64.toml"
Way = Callable[[Any, Array], None]


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


def opened(folder: Path, **envelope: float) -> Any:
    """Open a dry run, armed, whose envelope differs."""
    text = PROFILE.read_text()
    for key, value in envelope.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"{key} = "))
        text = text.replace(line, f"{key} = {value}")
    path = folder / "changed.toml"
    path.write_text(text)
    chip = make("dry-run", chip=str(path), state=str(folder / "state"))
    chip.arm()
    return chip


def pulses(repeat: int = 1, times: int = 1, port: Port = Port.DEVICE) -> Way:
    """Return 3 pulses on each device, `times` times in one sequence."""
    return lambda chip, array: chip.run(
        times * [Pulse(array, counted_pulses(torch.full((2, 2), 3)), repeat=repeat, port=port)]
    )


def drawn(chip: Any, array: Array) -> None:
    """An update whose trains the board draws: both lines fire in each of 40 slots."""
    drawing = Drawing(lr=40.0, dw_min=1.0, max_bl=40, update_management=False, bl_management=False)
    chip.update(Update(array, torch.ones(1, 2), torch.ones(1, 2), drawing, TrainSource(1, "W/trains"), 0))


# how, on which cell, and what it takes: line pulses and coincidences of all, pulses of one device
WAYS: dict[str, tuple[Way, Cell, int, int, int]] = {
    "pulses": (pulses(), Cell.SINGLE, 18, 12, 3),
    "repeated": (pulses(repeat=5), Cell.SINGLE, 90, 60, 15),
    "in one sequence": (pulses(times=4), Cell.SINGLE, 72, 48, 12),
    "a pair": (pulses(), Cell.PAIR, 36, 24, 3),
    "the reference of a pair": (pulses(port=Port.REFERENCE), Cell.PAIR, 18, 12, 3),
    "a device with a reference": (pulses(), Cell.REFERENCE, 18, 12, 3),
    "drawn": (drawn, Cell.SINGLE, 160, 160, 40),
    "drawn, a pair": (drawn, Cell.PAIR, 320, 320, 40),
}


@pytest.mark.parametrize("name", WAYS)
def test_energy_beyond_the_envelope_sends_nothing(name: str, sent: list[bytes], tmp_path: Path) -> None:
    way, cell, lines, coincidences, _ = WAYS[name]
    joules = lines * 1e-13 + coincidences * 1e-12
    with opened(tmp_path, batch_energy_j=joules * (1 - 1e-6)) as chip:
        with pytest.raises(LimitError, match=rf"{joules:.3g} J into the chip.*batch_energy_j"):
            way(chip, chip.allocate("W", 2, 2, cell))
        assert (sent, chip.wear().total) == ([], 0)
    with opened(tmp_path, batch_energy_j=joules) as chip:
        way(chip, chip.allocate("W", 2, 2, cell))
        assert sent


@pytest.mark.parametrize("name", WAYS)
def test_a_device_gets_no_pulse_beyond_its_budget(name: str, sent: list[bytes], tmp_path: Path) -> None:
    way, cell, _, coincidences, most = WAYS[name]
    with opened(tmp_path, device_pulses=2 * most - 1) as chip:
        array = chip.allocate("W", 2, 2, cell)
        way(chip, array)
        assert (chip.wear().most, chip.wear().total, len(sent)) == (most, coincidences, 1)
        with pytest.raises(LimitError, match=f"would have had {2 * most} pulses, {2 * most - 1} are its budget"):
            way(chip, array)
        assert (chip.wear().most, len(sent)) == (most, 1)
    with opened(tmp_path, device_pulses=2 * most) as chip:  # counted over openings
        way(chip, chip.allocate("W", 2, 2, cell))
        assert (chip.wear().most, len(sent)) == (2 * most, 2)


@pytest.mark.parametrize("limits", [Limits(max_bl=39), Limits(max_device_pulses=39)], ids=["bl", "pulses"])
def test_trains_that_the_board_would_draw_keep_to_what_is_armed(
    limits: Limits, sent: list[bytes], tmp_path: Path
) -> None:
    with opened(tmp_path) as chip:
        array = chip.allocate("W", 2, 2)
        chip.arm(limits)
        with pytest.raises(LimitError, match="39"):
            drawn(chip, array)
        assert (sent, chip.wear().total) == ([], 0)
        chip.arm(Limits(max_bl=40, max_device_pulses=40))
        drawn(chip, array)
        assert len(sent) == 1


def test_trains_that_the_board_would_draw_go_the_way_of_their_kind(sent: list[bytes], tmp_path: Path) -> None:
    for polarity, sends in (("down", 0), ("up", 1)):
        path = tmp_path / f"{polarity}.toml"
        path.write_text(PROFILE.read_text().replace("[kinds.update]", f'[kinds.update]\npolarity = "{polarity}"'))
        with make("dry-run", chip=str(path), state=str(tmp_path)) as chip:
            chip.arm()
            with contextlib.nullcontext() if sends else pytest.raises(BackendError):
                drawn(chip, chip.allocate("W", 2, 2))
            assert len(sent) == sends


def test_pulses_are_counted_before_they_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever becomes of a batch that was sent, its pulses are counted."""

    def lost(self: NoBoard, ticket: Ticket, operations: bytes) -> Reply:
        raise KeyboardInterrupt

    for name in ("pulses", "drawn"):
        monkeypatch.setattr(NoBoard, "run", lost)
        way, cell, _, coincidences, _ = WAYS[name]
        (tmp_path / name).mkdir()
        with opened(tmp_path / name) as chip:
            with pytest.raises(KeyboardInterrupt):
                way(chip, chip.allocate("W", 2, 2, cell))
            assert chip.wear().total == coincidences


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from rpudriver.backends.hardware.endurance import DeviceCounters
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.trains import counted_pulses
from rpudriver.types import Placement
import torch
counters = DeviceCounters.open(Path(sys.argv[1]), load_chip("emulated-64"))
counters.add(Placement(3, 5, 6), counted_pulses(torch.full((1, 1), 7)), 2)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_counters_outlast_a_kill(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "pulses.npy")], check=False)
    assert done.returncode == -signal.SIGKILL
    wear = DeviceCounters.open(tmp_path / "pulses.npy", load_chip("emulated-64")).wear()
    assert (wear.total, wear.most, wear.where) == (14, 14, "array 3 row 5 column 6")


@pytest.mark.parametrize("power", [False, True])
def test_counters_reach_the_disk_where_a_power_cut_is_to_be_outlasted(
    power: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    flush = np.memmap.flush
    monkeypatch.setattr(np.memmap, "flush", lambda self: (flushed.append(int(self.sum())), flush(self)))
    chip = make("dry-run", chip="emulated-64", state=str(tmp_path), durable="power" if power else "process")
    flushed.clear()
    chip.arm()
    array = chip.allocate("W", 2, 2)
    for _ in range(2):
        chip.run([Pulse(array, counted_pulses(torch.full((2, 2), 3)))])
    assert flushed == ([12, 24] if power else [])
    chip.close()
    assert flushed[-1] == 24


def test_counters_of_another_chip_or_none_at_all_are_refused(tmp_path: Path) -> None:
    path, profile = tmp_path / "pulses.npy", load_chip("emulated-64")
    DeviceCounters.open(path, load_chip("bench-8")).close()
    with pytest.raises(JournalError, match=r"of \(4, 8, 8\) devices, the chip profile of \(16, 64, 64\)"):
        DeviceCounters.open(path, profile)
    for damage in (b"", path.read_bytes()[:200], b"\0" * 4096):
        path.write_bytes(damage)
        with pytest.raises(JournalError, match=r"cannot be used: .*; put a good copy in place"):
            DeviceCounters.open(path, load_chip("bench-8"))
        assert path.read_bytes()[: len(damage)] == damage


def test_room_for_all_counters_is_taken_at_once(tmp_path: Path) -> None:
    """Memory that is a file with holes ends the process where a full disk cannot fill one."""
    path, profile = tmp_path / "pulses.npy", load_chip("emulated-64")
    for _ in range(2):
        DeviceCounters.open(path, profile).close()
        assert os.stat(path).st_blocks * 512 >= path.stat().st_size
        size = path.stat().st_size
        path.unlink()
        with path.open("wb") as file:  # of an older version, or copied: it may have holes
            np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": (16, 64, 64)})
            file.truncate(size)
    assert DeviceCounters.open(path, profile).wear().total == 0
