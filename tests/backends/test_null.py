"""The null backend: it counts, and does nothing else."""

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.errors import ConfigError, UnsupportedError
from rpudriver.types import Cell, Pulse, Read, Wait
from tests.backends.reference_chip import random_trains, uniform_trains


@pytest.fixture
def chip() -> CrossbarBackend:
    backend = make("null")
    backend.arm()
    return backend


def test_reads_are_zeros_of_the_right_shape(chip: CrossbarBackend) -> None:
    array = chip.allocate("A", 4, 3, Cell.PAIR)
    forward, back = chip.run(
        [Read(((array, 1.0),), torch.ones(5, 3)), Read(((array, 2.0), (array, 1.0)), torch.ones(6, 4), transposed=True)]
    )
    assert forward.values.shape == (5, 4)
    assert back.values.shape == (6, 3)
    for result in (forward, back):
        assert result.values.dtype is torch.float32
        assert not bool(result.values.any())
        assert result.saturated.shape == result.values.shape
        assert not bool(result.saturated.any())


def test_pulses_change_nothing(chip: CrossbarBackend) -> None:
    array = chip.allocate("A", 4, 3)
    chip.apply_pulses(array, uniform_trains((4, 3), [1] * 50, bl=20), repeat=100)
    assert not bool(chip.read_matvec(array, torch.ones(1, 3)).values.any())


def test_it_costs_what_a_simulated_chip_costs() -> None:
    """The meter is the base class's: a dry run tells the cost of the run."""
    costs = []
    for name in ("null", "reference"):
        with make(name, preset="rpu-asymmetric") as chip:
            chip.arm()
            array = chip.allocate("A", 4, 3)
            pulse = Pulse(array, random_trains((4, 3), 3, 20, seed=1), "update", repeat=2)
            chip.run([pulse, Read(((array, 1.0),), torch.ones(7, 3)), Wait(0.5)])
            costs.append(chip.status().cost)
    assert costs[0] == costs[1]
    assert costs[0]["samples"] == 6
    assert costs[0]["reads"] == 7
    assert costs[0]["chip_time_s"] > 0.5


def test_preset_and_profile_give_the_capabilities() -> None:
    chip = make("null", preset="ecram", profile="small", chip={"arrays": 2})
    assert (chip.capabilities.rows, chip.capabilities.arrays) == (32, 2)
    assert chip.capabilities.device.dw_min == 0.002


def test_state_is_empty_and_counters_are_kept(chip: CrossbarBackend) -> None:
    array = chip.allocate("A", 4, 3)
    chip.apply_pulses(array, uniform_trains((4, 3), [1, 1]))
    snapshot = chip.snapshot()
    assert snapshot["arrays"]["A"]["state"] == {}
    assert snapshot["arrays"]["A"]["samples"] == 2
    again = make("null")
    again.restore(snapshot)
    assert again.snapshot() == snapshot


def test_it_has_no_true_weights(chip: CrossbarBackend) -> None:
    with pytest.raises(UnsupportedError, match="NullBackend"):
        oracle(chip)


def test_a_misspelt_option_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'preset'"):
        make("null", presett="ecram")
