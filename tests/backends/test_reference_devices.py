"""Device-to-device spread, stuck devices, write noise and the named random streams of the reference backend."""

from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Cell, Port
from tests.backends.reference_chip import (
    assert_normal,
    open_chip,
    random_trains,
    state_of,
    uniform_trains,
    weights_of,
)

SHAPE = (80, 75)  # 6000 devices
SEED = 7  # of open_chip


def parameters(device: dict[str, Any], port: Port = Port.DEVICE, cell: Cell = Cell.SINGLE) -> dict[str, torch.Tensor]:
    chip = open_chip(device)
    array = chip.allocate("A", *SHAPE, cell)
    return {name: values.double() for name, values in oracle(chip).device_parameters(array, port).items()}


def drawn(stream: str, step: int, cells: int, pulse: int | np.ndarray = 0) -> np.ndarray:
    return keyed.gaussian(keyed.key(SEED, stream, step), np.arange(cells), pulse).astype(np.float64)


class TestSpreadBetweenDevices:
    @pytest.mark.parametrize("form", ["normal", "log-normal"])
    @pytest.mark.parametrize("name", ["dw_min", "w_max", "w_min", "tau", "gamma"])
    def test_mean_and_spread_of_every_parameter(self, name: str, form: str) -> None:
        mean, d2d = {"dw_min": 0.02, "w_max": 0.6, "w_min": -0.5, "tau": 0.7, "gamma": 1.5}[name], 0.2
        response: dict[str, Any] = {"family": "power", "tau": 0.7, "gamma": 1.5}
        device: dict[str, Any] = {"dw_min": 0.02, "w_max": 0.6, "w_min": -0.5}
        (response if name in response else device)[name] = {"mean": mean, "d2d": d2d, "form": form}
        p = parameters(device | {"response": response})
        values = (p["dw_up"] + p["dw_down"]) / 2 if name == "dw_min" else p[name]
        if form == "normal":
            assert_normal(values / mean, 1.0, d2d)
        else:
            assert_normal((values / mean).log(), -(d2d**2) / 2, d2d)  # so that the mean is the mean parameter
        for other in ({"dw_up", "w_max", "w_min", "tau", "gamma"} - {name}) if name != "dw_min" else {"w_max", "tau"}:
            assert float(p[other].std()) == pytest.approx(0.0, abs=1e-9)

    def test_imbalance_of_up_and_down(self) -> None:
        p = parameters({"up_down": 0.1, "up_down_d2d": 0.05})
        assert_normal((p["dw_up"] - p["dw_down"]) / (p["dw_up"] + p["dw_down"]), 0.1, 0.05)

    def test_a_normal_spread_never_reaches_zero(self) -> None:
        p = parameters({"dw_min": {"mean": 0.01, "d2d": 1.0}})
        assert float(p["dw_up"].min()) == pytest.approx(1e-4, rel=1e-5)

    def test_parameters_and_ports_are_independent(self) -> None:
        device = {"dw_min": {"mean": 0.01, "d2d": 0.2}, "w_max": {"mean": 0.6, "d2d": 0.2}, "w_min": -0.6}
        a, b = (parameters(device, port, Cell.REFERENCE) for port in Port)
        pairs = [(a["dw_up"], a["w_max"]), (a["dw_up"], b["dw_up"]), (a["w_max"], b["w_max"])]
        for one, other in pairs:
            r = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
            assert abs(float(r)) < 5 / one.numel() ** 0.5

    def test_the_named_streams(self) -> None:
        p = parameters({"dw_min": {"mean": 0.01, "d2d": 0.2}})
        expected = 0.01 * (1 + 0.2 * drawn("A/device/d2d/dw_min", 0, 6000)).reshape(SHAPE)
        np.testing.assert_allclose(p["dw_up"].numpy(), expected, rtol=1e-6)

    def test_another_seed_is_another_chip(self) -> None:
        device = {"dw_min": {"mean": 0.01, "d2d": 0.2}}
        chips = [open_chip(device, seed=seed) for seed in (1, 1, 2)]
        dw = [oracle(c).device_parameters(c.allocate("A", 4, 4), Port.DEVICE)["dw_up"] for c in chips]
        assert torch.equal(dw[0], dw[1])
        assert not torch.equal(dw[0], dw[2])


class TestStuckDevices:
    def test_fraction_value_and_stillness(self) -> None:
        chip = open_chip({"stuck": {"fraction": 0.1, "value": 0.3}, "write_noise": 1.0})
        array = chip.allocate("A", *SHAPE)
        dead = oracle(chip).device_parameters(array, Port.DEVICE)["alive"] == 0
        n = dead.numel()
        assert abs(float(dead.double().mean()) - 0.1) < 5 * (0.1 * 0.9 / n) ** 0.5
        chip.apply_pulses(array, uniform_trains(SHAPE, [1, 1]))
        state, weights = state_of(chip, array), weights_of(chip, array)
        assert torch.allclose(state[dead], torch.tensor(0.3, dtype=torch.float64))
        assert torch.equal(weights[dead], state[dead])  # nothing is written, so no write noise
        assert torch.allclose(state[~dead], torch.tensor(0.02, dtype=torch.float64))

    def test_the_value_is_clipped_to_the_devices_own_bounds(self) -> None:
        chip = open_chip({"stuck": {"fraction": 1.0, "value": 0.6}, "w_max": {"mean": 0.6, "d2d": 0.3}, "w_min": -0.6})
        array = chip.allocate("A", 10, 10)
        w_max = oracle(chip).device_parameters(array, Port.DEVICE)["w_max"].double()
        assert torch.allclose(state_of(chip, array), w_max.clamp(max=0.6))
        assert float(w_max.min()) < 0.6


class TestPulseNoise:
    @pytest.mark.parametrize("response", [{"family": "constant"}, {"family": "soft-bounds"}])
    def test_draw_by_cell_and_the_number_of_the_pulse_in_its_life(self, response: dict[str, Any]) -> None:
        chip = open_chip({"response": response, "w_max": 0.6, "w_min": -0.6, "c2c": 0.3, "c2c_additive": 0.2})
        array = chip.allocate("A", 3, 4)
        chip.apply_pulses(array, uniform_trains((3, 4), [1, -1], bl=3))
        w = np.zeros(12)
        for n, sign in enumerate([1, -1]):
            for k in range(3):
                q = 1.0 if response["family"] == "constant" else 1 - sign * w / 0.6
                s = np.sqrt((0.3 * q) ** 2 + 0.2**2)
                w = np.clip(w + sign * 0.01 * (q + s * drawn("A/device/pulse", 0, 12, 3 * n + k)), -0.6, 0.6)
        np.testing.assert_allclose(state_of(chip, array).numpy().ravel(), w, atol=1e-7)

    def test_a_device_counts_only_the_pulses_that_it_sees(self) -> None:
        chip = open_chip({"c2c": 0.3})
        array = chip.allocate("A", 5, 4)
        trains = random_trains((5, 4), samples=1, bl=20, seed=3)
        bits = [
            ((w.numpy()[0, :, 0, None] >> np.arange(20, dtype=np.uint32)) & 1) for w in (trains.d_words, trains.x_words)
        ]
        seen = bits[0].astype(int) @ bits[1].astype(int).T
        sign = np.where(trains.d_negative.numpy()[0][:, None] ^ trains.x_negative.numpy()[0][None], -1, 1)
        chip.apply_pulses(array, trains)
        noise = np.array([sum(drawn("A/device/pulse", 0, 20, k)[c] for k in range(seen.flat[c])) for c in range(20)])
        expected = 0.01 * sign * (seen + 0.3 * noise.reshape(5, 4))
        assert seen.min() < seen.max()
        np.testing.assert_allclose(state_of(chip, array).numpy(), expected, atol=1e-7)


class TestWriteNoise:
    def test_reads_are_off_the_hidden_state_by_write_noise(self) -> None:
        chip = open_chip({"write_noise": 1.4})
        array = chip.allocate("A", *SHAPE)
        assert torch.equal(weights_of(chip, array), state_of(chip, array))  # never pulsed
        chip.apply_pulses(array, uniform_trains(SHAPE, [1] * 3))
        off = weights_of(chip, array) - state_of(chip, array)
        assert torch.allclose(state_of(chip, array), torch.tensor(0.03, dtype=torch.float64))
        assert_normal(off, 0.0, 1.4 * 0.01)
        np.testing.assert_allclose(off.numpy().ravel(), 0.014 * drawn("A/device/write", 0, 6000, 3), atol=1e-7)

    def test_it_uses_the_mean_step_whatever_the_device(self) -> None:
        chip = open_chip({"write_noise": 1.0, "dw_min": {"mean": 0.01, "d2d": 0.7, "form": "log-normal"}})
        array = chip.allocate("A", *SHAPE)
        chip.apply_pulses(array, uniform_trains(SHAPE, [1]))
        assert_normal(weights_of(chip, array) - state_of(chip, array), 0.0, 0.01)

    def test_it_stays_until_the_device_is_pulsed_again(self) -> None:
        chip = open_chip({"write_noise": 1.0})
        array = chip.allocate("A", 3, 3)
        chip.apply_pulses(array, uniform_trains((3, 3), [1]))
        before = weights_of(chip, array)
        chip.apply_pulses(array, random_trains((3, 3), 1, bl=1, seed=5, density=0.0))
        assert torch.equal(weights_of(chip, array), before)
        only = uniform_trains((3, 3), [1])
        only.d_words[:, 1:] = torch.zeros(1, 2, 1, dtype=torch.int32).view(torch.uint32)  # rows 1 and 2 are silent
        chip.apply_pulses(array, only)
        after = weights_of(chip, array)
        assert torch.equal(after[1:], before[1:])
        assert bool((after[0] != before[0]).all())


class TestCells:
    def test_reference_cell_is_the_difference(self) -> None:
        chip = open_chip()
        array = chip.allocate("A", 2, 2, Cell.REFERENCE)
        chip.apply_pulses(array, uniform_trains((2, 2), [1, 1, 1]))
        chip.apply_pulses(array, uniform_trains((2, 2), [-1]), port=Port.REFERENCE)
        assert torch.allclose(state_of(chip, array), torch.tensor(0.03, dtype=torch.float64))
        assert torch.allclose(state_of(chip, array, Port.REFERENCE), torch.tensor(-0.01, dtype=torch.float64))
        assert torch.allclose(weights_of(chip, array), torch.tensor(0.04, dtype=torch.float64))

    def test_pair_moves_both_ways_and_halves(self) -> None:
        chip = open_chip({"c2c": 0.3, "c2c_additive": 0.2})
        array = chip.allocate("A", 2, 3, Cell.PAIR)
        chip.apply_pulses(array, uniform_trains((2, 3), [1]))
        s = (0.3**2 + 0.2**2) ** 0.5
        device = 0.01 * (1 + s * drawn("A/device/pulse", 0, 6))
        partner = -0.01 * (1 + s * drawn("A/reference/pulse", 0, 6))
        np.testing.assert_allclose(state_of(chip, array).numpy().ravel(), device, atol=1e-8)
        np.testing.assert_allclose(state_of(chip, array, Port.REFERENCE).numpy().ravel(), partner, atol=1e-8)
        np.testing.assert_allclose(weights_of(chip, array).numpy().ravel(), (device - partner) / 2, atol=1e-8)

    def test_the_reference_of_a_pair_moves_alone_with_its_polarity(self) -> None:
        chip = open_chip()
        array = chip.allocate("A", 2, 2, Cell.PAIR)
        chip.apply_pulses(array, uniform_trains((2, 2), [1]), port=Port.REFERENCE)
        assert float(state_of(chip, array).abs().max()) == 0.0
        assert torch.allclose(weights_of(chip, array), torch.tensor(-0.005, dtype=torch.float64))
