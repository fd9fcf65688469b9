"""The time that a bench reports is what its instruments take: apertures, pulses with their gaps, and relays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.emulator.bench_server import BenchServer
from rpudriver.backends.hardware.emulator.instruments.channel import Channel
from rpudriver.backends.hardware.emulator.probes import Probes
from rpudriver.backends.hardware.emulator.process import make_chip
from rpudriver.backends.hardware.emulator.wiring import Wiring
from rpudriver.backends.registry import make
from rpudriver.errors import ConfigError
from rpudriver.trains import counted_pulses
from rpudriver.types import Cell, Pulse, Read, Scan, Steps, Wait
from tests.backends.hardware.boards import NOISE_FREE, every_step
from tests.backends.hardware.scpi.benches import bench, open_bench, profile_with, tapped

__all__ = ["bench"]  # a fixture
PULSE_S, SET_S, READING_S, SWITCH_S = 1.1e-3, 4.1e-3, 0.2e-3, 8e-3  # bench-8: width and gap; aperture; relays


def taken(chip: CrossbarBackend, steps: Steps) -> float:
    before = chip.status().cost["chip_time_s"]
    chip.run(steps)
    return chip.status().cost["chip_time_s"] - before


def steps_of_a_known_time(chip: CrossbarBackend) -> Iterator[tuple[Steps, float]]:
    """Give steps, and what they take by the settings of bench-8, added up by hand."""
    array = chip.allocate("W", 3, 2)
    three = Pulse(array, counted_pulses(torch.tensor([[5, 0], [-2, 0], [0, 1]])), repeat=3)
    yield [three], 24 * PULSE_S + 3 * SWITCH_S
    read = Read(((array, 1.0),), torch.tensor([[0.5, 0.0], [1.0, -1.0], [0.0, 0.0]]))
    yield [read, Wait(0.01)], 3 * 3 * READING_S + 6 * SWITCH_S + 0.01
    back = Read(((array, 1.0),), torch.tensor([[0.0, 1.0, 0.0005]]), transposed=True)  # 0.0005: code 0 of 511
    yield [back], 2 * READING_S + 2 * SWITCH_S
    one = Pulse(array, counted_pulses(torch.tensor([[0, 0], [0, 1], [0, 0]])), "set")
    yield [one, one], 2 * SET_S  # on the device that was read last
    nothing = Pulse(array, counted_pulses(torch.zeros(3, 2, dtype=torch.int64)))
    yield [nothing, Read(((array, 1.0),), torch.zeros(4, 2))], 0.0
    yield [one], SET_S  # nothing has moved since
    pair = chip.allocate("P", 1, 1, Cell.PAIR)
    yield [Pulse(pair, counted_pulses(torch.tensor([[4]])))], 2 * (4 * PULSE_S + SWITCH_S)
    yield [Read(((pair, 1.0),), torch.ones(10, 1))], 2 * (10 * READING_S + SWITCH_S)
    last = counted_pulses(torch.tensor([[0, 2], [0, 0], [0, 0]]))
    scan = Scan(array, last, columns=torch.tensor([1, 0]), after=torch.tensor([0, 1]))
    yield [scan], 2 * PULSE_S + 6 * READING_S + (3 + 1 + 3) * SWITCH_S
    yield [one], SET_S + SWITCH_S
    chip.idle()  # which opens all relays
    chip.arm()
    yield [one], SET_S + SWITCH_S


@pytest.mark.parametrize("name", ["scpi-bench", "dry-run"])
def test_the_time_is_that_of_apertures_pulses_and_relays(name: str, bench: EmulatedBench, tmp_path: Path) -> None:
    opened = open_bench(bench, tmp_path) if name == "scpi-bench" else make(name, chip="bench-8")
    with opened as chip:
        chip.arm()
        for n, (steps, seconds) in enumerate(steps_of_a_known_time(chip)):
            assert taken(chip, steps) == pytest.approx(seconds, abs=1e-9), f"number {n}"


class Clock:
    """Adds up the programmes of the emulated 2450, and counts how often the matrix leads to other lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programmed, self.switched = 0.0, 0
        pass_time, switch = Channel.pass_time, Wiring.switch

        def passing(channel: Channel, seconds: float) -> None:
            self.programmed += seconds
            pass_time(channel, seconds)

        def switching(wiring: Wiring, closed: set[tuple[int, int, int]]) -> None:
            self.switched += bool(closed) and closed != wiring.closed
            switch(wiring, closed)

        monkeypatch.setattr(Channel, "pass_time", passing)
        monkeypatch.setattr(Wiring, "switch", switching)


@pytest.mark.parametrize("cell", list(Cell))
def test_the_instruments_take_that_time(cell: Cell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock(monkeypatch)
    wiring = Wiring(Probes(make_chip("bench-8", NOISE_FREE["preset"], NOISE_FREE["device"], NOISE_FREE["read"])))
    addresses = BenchServer(wiring).addresses
    options: Any = dict(zip(("source", "gates", "matrix"), addresses.values(), strict=True))
    with make("scpi-bench", chip="bench-8", state=str(tmp_path), **options) as chip:
        chip.arm()
        steps = every_step(chip, cell, (3, 5), samples=6, codes=511)
        chip.run(steps)
        cost = chip.status().cost
    assert clock.switched > 50
    assert clock.programmed > 0.1
    found = clock.programmed + SWITCH_S * clock.switched + sum(step.seconds for step in steps if isinstance(step, Wait))
    assert cost["chip_time_s"] == pytest.approx(found, rel=1e-9)


def test_a_snapshot_does_not_forget_where_the_relays_are(bench: EmulatedBench, tmp_path: Path) -> None:
    with open_bench(bench, tmp_path) as chip:
        chip.arm()
        step = Pulse(chip.allocate("W", 1, 1), counted_pulses(torch.tensor([[1]])))
        assert taken(chip, [step]) == pytest.approx(PULSE_S + SWITCH_S)
        chip.restore(chip.snapshot())
        assert taken(chip, [step]) == pytest.approx(PULSE_S)


@pytest.mark.parametrize(("mains", "cycles"), [("50", "0.01"), ("60", "0.012")])
def test_an_aperture_is_as_long_on_other_mains(mains: str, cycles: str, bench: EmulatedBench, tmp_path: Path) -> None:
    def tell(message: str, answer: bytes) -> bytes:
        return answer.replace(b"50", mains.encode()) if "LFR?" in message else answer

    with tapped(bench, "source") as (options, taps):
        taps["source"].answer = tell
        with open_bench(bench, tmp_path, **options) as chip:
            chip.arm()
        assert [message for message in taps["source"].sent if f"NPLC {cycles};" in message]


@pytest.mark.parametrize("seconds", ["1.9e-4", "0.17"])
def test_an_aperture_that_the_2450_does_not_have_is_refused(seconds: str, tmp_path: Path) -> None:
    path = profile_with(tmp_path, ("read_s = 2e-4", f"read_s = {seconds}"))
    with pytest.raises(ConfigError, match=r"timing\.read_s = .*the aperture of a 2450 is 0\.0002 \.\. 0\.16 s"):
        make("dry-run", chip=str(path))
