"""The hardware backend on a bench of emulated instruments: all that is not silicon is real."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rpudriver.backends.checker import check_backend
from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.scpi import programme
from rpudriver.backends.hardware.scpi.programme import Train
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.errors import LimitError, NotArmedError
from rpudriver.trains import counted_pulses
from rpudriver.types import Cell, Pulse, Read
from tests.backends.hardware.boards import NOISE_FREE, every_step
from tests.backends.hardware.scpi.benches import at_rest, bench, exact_bench, open_bench, profile_with, tapped

__all__ = ["bench", "exact_bench"]  # fixtures


def test_the_bench_keeps_the_contract(bench: EmulatedBench, tmp_path: Path) -> None:
    report = check_backend(lambda: open_bench(bench, tmp_path))
    assert report.passed, str(report)
    skipped = {"same-seed", "grouping-free", "restore-continues"}  # what a chip cannot be held to
    skipped |= {"output-noise-fresh", "sum-noise", "saturation-flagged"}  # none without inputs; the next test
    assert set(report.names("skipped")) == skipped | {n for n in report.names("skipped") if "snapshot" in n}
    assert len(report.names("passed")) >= 38
    assert at_rest(bench)


def test_an_output_beyond_the_full_scale_is_flagged(bench: EmulatedBench, tmp_path: Path) -> None:
    profile = profile_with(tmp_path, ("amperes_full_scale = 96e-6", "amperes_full_scale = 16e-6"))  # 2 units
    report = check_backend(lambda: open_bench(bench, tmp_path, profile), only=["saturation-flagged"])
    assert report.names("passed") == ["saturation-flagged"], str(report)


# ---- broken drivers are caught -----------------------------------------------------------------------------------


def _exchanged(train: Train) -> Train:
    return train._replace(runs=[(count, not up) for count, up in train.runs])


def _elsewhere(train: Train) -> Train:
    return train._replace(row=train.row ^ 4)


def _summed(train: Train) -> Train:
    total = sum(count if up else -count for count, up in train.runs)
    return train._replace(runs=[(abs(total), total > 0)] if total else [])


MUTANTS = {
    "directions are exchanged": (_exchanged, "polarity"),
    "pulses go to another row": (_elsewhere, "read-orientation"),
    "pulses of a batch are summed up": (_summed, "sample-order"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_driver_is_caught_by_the_check_that_names_it(
    name: str, bench: EmulatedBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bend, check = MUTANTS[name]
    sound = programme.trains
    monkeypatch.setattr(
        "rpudriver.backends.hardware.scpi.programme.trains", lambda operation: map(bend, sound(operation))
    )
    report = check_backend(lambda: open_bench(bench, tmp_path), only=[check])
    assert report.names("failed") == [check], str(report)


# ---- the same as on the simulator --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", list(Cell))
def test_bench_and_simulator_give_the_same(cell: Cell, exact_bench: EmulatedBench, tmp_path: Path) -> None:
    for array in range(4):
        exact_bench.oracle.set_weights(array, 0.0)
    chips = {"rows": 8, "columns": 8, "arrays": 4, "input_bits": 10, "output_bits": 14, "output_bound": 12.0}
    results = []
    for opened in (
        open_bench(exact_bench, tmp_path),
        make("simulated", profile="small", chip=chips, **NOISE_FREE),
    ):
        with opened as chip:
            chip.arm()
            results.append(chip.run(every_step(chip, cell, (3, 7), samples=6, codes=511)))
    for one, other in zip(*results, strict=True):
        # noise of a current: 4 nA of a range of 1 mA, of which a unit is 8 uA; 14 readings; 5 deviations
        error = 5 * 14**0.5 * 1e-8 / 8e-6 + 12 / 8191
        assert torch.allclose(one.values, other.values, atol=error)
        assert float(one.values.abs().max()) > 20 * error


def test_a_device_gets_its_pulses_and_no_other_one_does(exact_bench: EmulatedBench, tmp_path: Path) -> None:
    for each in range(4):
        exact_bench.oracle.set_weights(each, 0.0)
    counts = torch.zeros(8, 8, dtype=torch.int64)
    counts[2, 5], counts[7, 0] = 9, -4
    with open_bench(exact_bench, tmp_path) as chip:
        chip.arm()
        array = chip.allocate("W", 8, 8)
        chip.run([Pulse(array, counted_pulses(counts), repeat=2)])
    assert np.allclose(exact_bench.weights(0), 0.012 * 2 * counts.numpy(), atol=1e-6)
    assert not exact_bench.weights(1).any()


# ---- limits ------------------------------------------------------------------------------------------------------


def test_nothing_leaves_where_a_sequence_is_refused(bench: EmulatedBench, tmp_path: Path) -> None:
    with tapped(bench, "source", "gates", "matrix") as (options, taps), open_bench(bench, tmp_path, **options) as chip:
        array = chip.allocate("W", 4, 4)
        good = Pulse(array, counted_pulses(torch.full((4, 4), 1)))
        with pytest.raises(NotArmedError):
            chip.run([good])
        chip.arm(Limits(max_bl=10, max_input=0.5))
        sent = {name: len(tap.sent) for name, tap in taps.items()}
        for bad in (
            Pulse(array, counted_pulses(torch.full((4, 4), 11))),
            Pulse(array, good.trains, repeat=10**9),  # energy
            Read(((array, 1.0),), torch.full((1, 4), 0.51)),
        ):
            with pytest.raises(LimitError):
                chip.run([good, bad])
        assert {name: len(tap.sent) for name, tap in taps.items()} == sent
        chip.run([good, Read(((array, 1.0),), torch.full((1, 4), 0.5))])
        assert all(len(tap.sent) > sent[name] for name, tap in taps.items())


def test_a_train_runs_inside_the_instrument(bench: EmulatedBench, tmp_path: Path) -> None:
    one = torch.zeros(8, 8, dtype=torch.int64)
    one[3, 3] = 200
    with tapped(bench, "source") as (options, taps), open_bench(bench, tmp_path, **options) as chip:
        chip.arm()
        array = chip.allocate("W", 8, 8)
        before = len(taps["source"].sent)
        chip.run([Pulse(array, counted_pulses(one))])
        sent = taps["source"].sent[before:]
    assert sum(":INIT" in message for message in sent) == 1
    assert len(sent) <= 4  # the model, the start, the error queue, and nothing while pulses run
