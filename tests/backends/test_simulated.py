"""`simulated` against `reference`: the same pulses, the same noise, so the same weights up to float32 rounding.

Both draw every number from the keyed generator under the same names. A test of equality is therefore far sharper than
a statistical one: a wrong spread, a lost pulse or a noise drawn under another key shows at once.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.errors import CheckpointError
from rpudriver.keyed import threads
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Cell, Port, Pulse, PulseTrains, Read, Scan
from tests.backends.simulated.kernel_cases import force

FAMILIES: dict[str, dict[str, Any]] = {
    "constant": {"response": {"family": "constant"}},
    "soft-bounds": {"response": {"family": "soft-bounds"}},
    "power": {"response": {"family": "power", "tau": {"mean": 0.6, "d2d": 0.1}, "gamma": {"mean": 1.7, "d2d": 0.1}}},
    "power-1": {"response": {"family": "power", "tau": 0.6}},
    "exponential": {"response": {"family": "exponential", "tau": {"mean": 0.7, "d2d": 0.1}, "gamma": 1.3}},
    "measured": {
        "response": {
            "family": "measured",
            "w": [-0.6, 0.0, 0.3, 0.6],
            "dw_up": [0.03, 0.01, 0.01, 0.002],
            "dw_down": [0.001, 0.01, 0.02, 0.03],
            "dw_spread": [0.001, 0.002, 0.003, 0.004],
        }
    },
}
NOISES: dict[str, dict[str, Any]] = {
    "quiet": {"c2c": 0.0},
    "multiplicative": {"c2c": 0.4},
    "both": {"c2c": 0.3, "c2c_additive": 0.2},
    "dirty": {"c2c": 0.3, "write_noise": 1.2, "stuck": {"fraction": 0.1, "value": 0.2}},
    "dirty quiet": {"c2c": 0.0, "write_noise": 1.2, "stuck": {"fraction": 0.1, "value": 0.2}},
}
# A kernel is compiled for a family and a form of noise, some seconds each: every family has one form here, every form
# two families. Write noise, dead devices and the size of a step take no kernel of their own.
COMPILED: dict[str, tuple[str, ...]] = {
    "constant": ("quiet", "dirty quiet"),
    "soft-bounds": ("multiplicative", "dirty"),
    "power": ("multiplicative", "dirty"),
    "power-1": ("both",),
    "exponential": ("quiet", "dirty quiet"),
    "measured": tuple(NOISES),  # always in the general form
}
STEPS = {"usual": 0.012, "coarse": 0.05, "fine": 0.001}


@pytest.fixture(params=["compiled", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations of the update: the compiled kernel, and torch as it runs on other devices."""
    if request.param == "torch":
        monkeypatch.setattr(native, "has_kernel", lambda bank: False)
    return str(request.param)


def some_trains(n_out: int, n_in: int, first: int, batch: int = 6, max_bl: int = 40) -> PulseTrains:
    g = torch.Generator().manual_seed(first)
    x = torch.randn(batch, n_in, generator=g) * (torch.rand(batch, n_in, generator=g) < 0.7)
    d = torch.randn(batch, n_out, generator=g) * 0.5
    source = TrainSource(1, "trains")
    return draw_trains(x, d, lr=0.1, dw_min=0.003, max_bl=max_bl, source=source, first=first)


def train(backend: CrossbarBackend, cell: Cell) -> tuple[torch.Tensor, torch.Tensor]:
    backend.arm()
    array = backend.allocate(f"W-{cell.value}", 5, 9, cell)
    for k in range(4):
        backend.apply_pulses(array, some_trains(5, 9, 6 * k), repeat=1 + k % 2)
    if cell is not Cell.SINGLE:
        backend.apply_pulses(array, some_trains(5, 9, 100), port=Port.REFERENCE, kind="update")
    g = torch.Generator().manual_seed(0)
    read = backend.read_matvec(array, torch.rand(3, 9, generator=g) * 2 - 1)
    return oracle(backend).true_weights(array).double(), read.values.double()


def chip_of(family: str, noise: str, step: float) -> dict[str, Any]:
    response = dict(FAMILIES[family]["response"])
    for column in response.keys() & {"dw_up", "dw_down", "dw_spread"}:
        response[column] = [value * step / STEPS["usual"] for value in response[column]]
    device = {"response": response, "dw_min": {"mean": step, "d2d": 0.3}} | NOISES[noise]
    return {"preset": "asymmetric-100", "seed": 3, "device": device}


@cache
def reference_results(family: str, noise: str, step: float) -> dict[Cell, tuple[torch.Tensor, torch.Tensor]]:
    slow = make("reference", **chip_of(family, noise, step))
    return {cell: train(slow, cell) for cell in Cell}


def assert_equals_reference(family: str, noise: str, step: float) -> None:
    fast = make("simulated", **chip_of(family, noise, step))
    for cell, (expected, read) in reference_results(family, noise, step).items():
        found, read_found = train(fast, cell)
        assert expected.abs().max() > min(0.05, 4 * step)  # the devices did move
        torch.testing.assert_close(found, expected, atol=3e-6, rtol=0)
        # a value next to a rounding boundary of the converter may fall on either side of it
        step = 12 / 255
        assert ((read - read_found).abs() < 1.01 * step).all()
        assert ((read - read_found).abs() < 1e-4).double().mean() > 0.9


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("family", "noise"), [(family, noise) for family in COMPILED for noise in COMPILED[family]])
@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_kernels_equal_reference(
    family: str, noise: str, dense: bool, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, dense=dense)
    assert_equals_reference(family, noise, STEPS[step])


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("family", FAMILIES)
def test_torch_equals_reference(family: str, noise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "has_kernel", lambda bank: False)
    assert_equals_reference(family, noise, STEPS["usual"])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("noise", ["output_noise", "input_noise", "weight_noise"])
def test_reads_equal_reference(noise: str, transposed: bool) -> None:
    options: dict[str, Any] = {
        "preset": "idealised",
        "read": {noise: 0.1},
        "chip": {"output_bits": 0, "output_bound": 0.4},
    }
    results = []
    for name in ("reference", "simulated"):
        with make(name, **options) as backend:
            backend.arm()
            a, b = (backend.allocate(role, 4, 7) for role in ("A", "B"))
            for array, first in ((a, 0), (b, 50)):
                g = torch.Generator().manual_seed(first)
                oracle(backend).set_true_state(array, Port.DEVICE, torch.rand(4, 7, generator=g) - 0.4)
            x = torch.rand(20, 4 if transposed else 7, generator=torch.Generator().manual_seed(9)) * 2 - 1
            backend.run([Read(((b, 1.0),), x, transposed)])
            results.append(backend.run([Read(((a, 0.5), (b, 1.0)), x, transposed)])[0])
    torch.testing.assert_close(results[0].values.float(), results[1].values, atol=1e-5, rtol=0)
    assert torch.equal(results[0].saturated, results[1].saturated)
    assert 0 < results[0].saturated.double().mean() < 1


def test_same_result_however_samples_are_grouped(path: str) -> None:
    def final(send: Callable[[CrossbarBackend, Any, PulseTrains], None]) -> torch.Tensor:
        backend = make("simulated", preset="reram-array", seed=5)
        backend.arm()
        array = backend.allocate("W", 5, 9)
        send(backend, array, some_trains(5, 9, 0, batch=10))
        return oracle(backend).true_weights(array)

    at_once = final(lambda backend, array, trains: backend.run([Pulse(array, trains)]))
    one_by_one = final(
        lambda backend, array, trains: [backend.run([Pulse(array, trains[b : b + 1])]) for b in range(10)] and None
    )
    assert torch.equal(at_once, one_by_one)


def test_same_result_for_one_and_for_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    finals = []
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0.0)
    for count in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        backend = make("simulated", preset="reram-array", seed=5)
        backend.arm()
        array = backend.allocate("W", 40, 30)
        backend.apply_pulses(array, some_trains(40, 30, 0))
        finals.append(oracle(backend).true_weights(array))
    assert torch.equal(finals[0], finals[1])


def test_repeats_in_chunks_equal_one_by_one(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpudriver.backends.simulated import pulses

    monkeypatch.setattr(pulses, "CHUNK", 200)  # less than two samples of 5 x 9 devices a chunk
    monkeypatch.setattr(native, "LONGEST_CALL", 1.0)  # one repeat a call
    monkeypatch.setattr(native, "alone", lambda: native.LONGEST_CALL)  # whatever the number of threads
    finals = []
    for repeats in ([7], [1] * 7):
        backend = make("simulated", preset="reram-array", seed=5)
        backend.arm()
        array = backend.allocate("W", 5, 9)
        for repeat in repeats:
            backend.apply_pulses(array, some_trains(5, 9, 0), repeat=repeat)
        finals.append(oracle(backend).true_weights(array))
    assert torch.equal(finals[0], finals[1])


def test_snapshot_brings_back_every_bit() -> None:
    options: dict[str, Any] = {"preset": "reram-array", "seed": 5}
    first = make("simulated", **options)
    train(first, Cell.PAIR)
    saved = first.snapshot()
    second = make("simulated", **options)
    second.restore(saved)
    assert torch.equal(train(first, Cell.PAIR)[1], train(second, Cell.PAIR)[1])


@pytest.mark.parametrize("name", ["simulated", "reference"])
def test_a_state_of_another_shape_is_refused(name: str) -> None:
    """The compiled kernel does not look where it writes."""
    with make(name, preset="reram-array") as backend:
        array = backend.allocate("W", 3, 2)
        saved = backend.snapshot()
        state = saved["arrays"]["W"]["state"]
        for bad in ({}, {key: value[:1] for key, value in state.items()}):
            with pytest.raises(CheckpointError, match="array 'W' holds"):
                backend.restore(saved | {"arrays": {"W": saved["arrays"]["W"] | {"state": bad}}})
        assert torch.equal(backend.snapshot([array.name])["arrays"]["W"]["state"]["device/read"], state["device/read"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_a_chip_on_another_torch_device_takes_and_answers_on_the_callers(where: str) -> None:
    finals = []
    for torch_device in ("cpu", "cuda"):
        with make("simulated", preset="reram-array", seed=5, torch_device=torch_device) as backend:
            backend.arm()
            array = backend.allocate("W", 5, 9)
            backend.apply_pulses(array, some_trains(5, 9, 0).to(torch.device(where)))
            result = backend.read_matvec(array, torch.eye(9, device=where))
            assert result.values.device.type == result.saturated.device.type == where
            backend.write(array, torch.zeros(5, 9))
            finals.append(oracle(backend).true_weights(array).cpu())
    assert (finals[0] - finals[1]).abs().mean() < 0.1


def test_a_scan_sees_a_reference_that_was_pulsed_since_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for whole in (True, False):
        monkeypatch.setattr(SimulatedBackend, "takes_scans", whole)
        backend = make("simulated", preset="asymmetric-100", seed=5)
        backend.arm()
        array = backend.allocate("W", 5, 9, Cell.REFERENCE)
        scan = Scan(array, some_trains(5, 9, 0), torch.tensor([3, 8]), torch.tensor([2, 6]))
        first = backend.run([scan])[0].values
        backend.apply_pulses(array, some_trains(5, 9, 100), port=Port.REFERENCE, repeat=3)
        found.append(torch.cat([first, backend.run([scan])[0].values]))
    assert torch.equal(found[0], found[1])
