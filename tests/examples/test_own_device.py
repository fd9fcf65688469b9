"""The example of a device of one's own: the simulator follows it, on both backends, and a network trains on it."""

import importlib.util
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.trains import counted_pulses
from rpudriver.types import Port

FILE = Path(__file__).parents[2] / "examples" / "own_device.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_device", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert len(FILE.read_text().splitlines()) < 80


@pytest.mark.parametrize("name", ["formula", "table"])
def test_the_response_bends_and_the_network_trains(example: ModuleType, name: str) -> None:
    with make("simulated", preset="asymmetric-100", device=example.DEVICES[name]) as chip:
        chip.arm()
        curve = example.pulse(chip)
        assert example.train(chip) < 0.2  # an untrained layer leaves about 1.5
    steps = [after - before for before, after in pairwise(curve)]
    assert abs(curve[0]) < 0.01
    assert steps[0] > 2 * steps[4] > 0  # saturation on the way up
    assert -steps[5] > 2 * -steps[9] > 0  # and on the way down


@pytest.mark.parametrize("name", ["formula", "table"])
def test_both_backends_move_the_device_alike(example: ModuleType, name: str) -> None:
    """Float32 powers may round differently: a step is 0.012."""
    states = []
    for backend in ("reference", "simulated"):
        with make(backend, preset="asymmetric-100", device=example.DEVICES[name], seed=3) as chip:
            chip.arm()
            array = chip.allocate("W", 3, 4)
            chip.apply_pulses(array, counted_pulses(torch.arange(-6, 6).reshape(3, 4) * 5))
            states.append(oracle(chip).true_state(array, Port.DEVICE))
    assert states[0].abs().max() > 0.1
    torch.testing.assert_close(states[0], states[1], atol=1e-5, rtol=0)


def test_the_formula_without_noise(example: ModuleType) -> None:
    """One device against its own recursion."""
    options = {"dw_min": 0.012, "w_max": 0.6, "w_min": -0.6, "c2c": 0.0, "up_down_d2d": 0.0}
    response = {"family": "logistic", "k": 3.0}
    with make("simulated", preset="asymmetric-100", device=options | {"response": response}) as chip:
        chip.arm()
        array = chip.allocate("W", 1, 1)
        chip.apply_pulses(array, counted_pulses(torch.tensor([[40]])))
        state = float(oracle(chip).true_state(array, Port.DEVICE))
    w = torch.tensor(0.0, dtype=torch.float64)
    for _ in range(40):
        w = w + 0.012 * 2 / (1 + torch.exp(3.0 * w))
    assert state == pytest.approx(float(w), abs=1e-5)
