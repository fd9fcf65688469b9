"""Order, grouping, snapshots and the oracle of the reference backend."""

import io

import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.spec import preset_names
from rpudriver.errors import CheckpointError
from rpudriver.types import Array, Cell, Port, Pulse, Read
from tests.backends.reference_chip import open_chip, random_trains, state_of, uniform_trains, weights_of

SHAPE = (5, 4)
NOISY = {
    "response": {"family": "soft-bounds"},
    "w_max": {"mean": 0.3, "d2d": 0.3},
    "w_min": {"mean": -0.3, "d2d": 0.3},
    "dw_min": {"mean": 0.01, "d2d": 0.3},
    "up_down_d2d": 0.05,
    "c2c": 0.3,
    "c2c_additive": 0.1,
    "write_noise": 0.5,
}
READ = {"output_noise": 0.06, "input_noise": 0.02, "weight_noise": 0.02}


def noisy_chip(cell: Cell = Cell.SINGLE, name: str = "A") -> tuple[CrossbarBackend, Array]:
    chip = open_chip(NOISY, READ, {"input_bits": 7, "output_bits": 9, "output_bound": 12.0})
    return chip, chip.allocate(name, *SHAPE, cell)


def everything(chip: CrossbarBackend, array: Array) -> list[torch.Tensor]:
    return list(chip.snapshot()["arrays"][array.name]["state"].values())


def assert_same(one: tuple[CrossbarBackend, Array], other: tuple[CrossbarBackend, Array]) -> None:
    for a, b in zip(everything(*one), everything(*other), strict=True):
        assert torch.equal(a, b)
    x = torch.linspace(-1, 1, 3 * SHAPE[1]).view(3, SHAPE[1])
    assert torch.equal(one[0].read_matvec(one[1], x).values, other[0].read_matvec(other[1], x).values)


class TestOrder:
    def test_samples_are_applied_in_order(self) -> None:
        """At a hard bound up-then-down differs from down-then-up."""
        states = []
        for signs in ([1, 1, -1], [-1, 1, 1]):
            chip = open_chip({"w_max": 0.01})
            array = chip.allocate("A", 2, 2)
            chip.apply_pulses(array, uniform_trains((2, 2), signs))
            states.append(float(state_of(chip, array)[0, 0]))
        assert states == pytest.approx([0.0, 0.01], abs=1e-8)

    def test_steps_are_run_in_order(self) -> None:
        chip = open_chip()
        array = chip.allocate("A", 1, 1)
        pulse, read = Pulse(array, uniform_trains((1, 1), [1])), Read(((array, 1.0),), torch.ones(1, 1))
        values = [float(result.values) for result in chip.run([read, pulse, read, pulse, pulse, read])]
        assert values == pytest.approx([0.0, 0.01, 0.03], abs=1e-7)

    def test_bits_of_both_words_count(self) -> None:
        chip = open_chip()
        array = chip.allocate("A", 2, 2)
        chip.apply_pulses(array, uniform_trains((2, 2), [1], bl=37))
        assert torch.allclose(state_of(chip, array), torch.tensor(0.37, dtype=torch.float64))

    def test_coincidences_and_signs(self) -> None:
        chip = open_chip()
        array = chip.allocate("A", *SHAPE)
        trains = random_trains(SHAPE, samples=1, bl=40, seed=2)
        chip.apply_pulses(array, trains)
        expected = np.zeros(SHAPE)
        for i in range(SHAPE[0]):
            for j in range(SHAPE[1]):
                for slot in range(40):
                    word, bit = divmod(slot, 32)
                    fires = (int(trains.d_words[0, i, word]) >> bit) & (int(trains.x_words[0, j, word]) >> bit) & 1
                    opposite = bool(trains.d_negative[0, i]) != bool(trains.x_negative[0, j])
                    expected[i, j] += fires * (-0.01 if opposite else 0.01)
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(state_of(chip, array).numpy(), expected, atol=1e-7)


class TestGrouping:
    @pytest.mark.parametrize("cell", list(Cell))
    def test_ten_samples_equal_ten_steps(self, cell: Cell) -> None:
        together, apart = noisy_chip(cell), noisy_chip(cell)
        trains = random_trains(SHAPE, samples=10, bl=12, seed=4)
        together[0].apply_pulses(together[1], trains)
        apart[0].run([Pulse(apart[1], trains[b : b + 1]) for b in range(10)])
        assert_same(together, apart)

    def test_repeat_equals_the_step_again_and_again(self) -> None:
        together, apart = noisy_chip(), noisy_chip()
        trains = random_trains(SHAPE, samples=3, bl=5, seed=6)
        together[0].apply_pulses(together[1], trains, repeat=5)
        for _ in range(5):
            apart[0].apply_pulses(apart[1], trains)
        assert_same(together, apart)

    def test_other_arrays_do_not_matter(self) -> None:
        alone, beside = noisy_chip(), noisy_chip()
        other = beside[0].allocate("B", 3, 3)
        trains = random_trains(SHAPE, samples=4, bl=5, seed=6)
        alone[0].apply_pulses(alone[1], trains)
        for b in range(4):
            beside[0].apply_pulses(other, random_trains((3, 3), 2, 4, seed=b))
            beside[0].read_matvec(other, torch.ones(2, 3))
            beside[0].apply_pulses(beside[1], trains[b : b + 1])
        assert_same(alone, beside)

    def test_reads_in_one_step_equal_reads_apart(self) -> None:
        together, apart = noisy_chip(), noisy_chip()
        x = torch.linspace(-1, 1, 24).view(6, 4)
        values = together[0].read_matvec(together[1], x).values
        assert torch.equal(values, torch.cat([apart[0].read_matvec(apart[1], x[b : b + 1]).values for b in range(6)]))

    def test_an_empty_batch_and_silent_trains_change_nothing(self) -> None:
        chip, array = noisy_chip()
        before = everything(chip, array)
        chip.apply_pulses(array, random_trains(SHAPE, samples=2, bl=8, seed=1, density=0.0))
        empty = random_trains(SHAPE, samples=1, bl=8, seed=1)[0:0]
        chip.apply_pulses(array, empty)
        assert chip.read_matvec(array, torch.zeros(0, 4)).values.shape == (0, 5)
        assert all(torch.equal(a, b) for a, b in zip(before, everything(chip, array), strict=True))


class TestSnapshots:
    @pytest.mark.parametrize("cell", list(Cell))
    @pytest.mark.parametrize("fresh", [True, False])
    def test_going_on_from_a_snapshot_is_going_on(self, cell: Cell, fresh: bool) -> None:
        chip, array = noisy_chip(cell)
        trains = random_trains(SHAPE, samples=4, bl=8, seed=8)
        chip.apply_pulses(array, trains)
        chip.read_matvec(array, torch.ones(3, 4))
        file = io.BytesIO()
        torch.save(chip.snapshot(), file)
        chip.apply_pulses(array, trains)
        if fresh:
            again, its = open_chip(NOISY, READ, {"input_bits": 7, "output_bits": 9, "output_bound": 12.0}), array
        else:
            again, its = noisy_chip(cell)
            again.apply_pulses(its, random_trains(SHAPE, samples=7, bl=9, seed=9))
        file.seek(0)
        again.restore(torch.load(file, weights_only=True))
        again.apply_pulses(its, trains)
        assert_same((chip, array), (again, its))
        assert again.status().cost == chip.status().cost

    def test_a_snapshot_is_a_copy(self) -> None:
        chip, array = noisy_chip()
        state = chip.snapshot()["arrays"]["A"]["state"]["device/hidden"]
        chip.apply_pulses(array, uniform_trains(SHAPE, [1] * 5))
        assert float(state.abs().max()) == 0.0

    def test_restoring_part_leaves_the_rest(self) -> None:
        chip, array = noisy_chip()
        other = chip.allocate("B", *SHAPE)
        part = chip.snapshot(["A"])
        for each in (array, other):
            chip.apply_pulses(each, uniform_trains(SHAPE, [1, 1]))
        moved = state_of(chip, other)
        chip.restore(part)
        assert float(state_of(chip, array).abs().max()) == 0.0
        assert torch.equal(state_of(chip, other), moved)

    def test_another_seed_is_refused(self) -> None:
        snapshot = open_chip(NOISY, seed=1).snapshot()
        with pytest.raises(CheckpointError, match="same profile, preset and seed"):
            open_chip(NOISY, seed=2).restore(snapshot)

    def test_a_state_that_does_not_fit_is_refused(self) -> None:
        chip, _ = noisy_chip()
        snapshot = chip.snapshot()
        snapshot["arrays"]["A"]["state"]["device/hidden"] = torch.zeros(2, 2)
        with pytest.raises(CheckpointError, match="'A'"):
            chip.restore(snapshot)


class TestOracle:
    def test_setting_a_state_clips_to_the_devices_own_bounds(self) -> None:
        chip, array = noisy_chip()
        view = oracle(chip)
        view.set_true_state(array, Port.DEVICE, torch.full(SHAPE, 9.0))
        assert torch.allclose(state_of(chip, array), view.device_parameters(array, Port.DEVICE)["w_max"].double())
        assert torch.equal(weights_of(chip, array), state_of(chip, array))

    def test_what_it_returns_is_a_copy(self) -> None:
        chip, array = noisy_chip()
        view = oracle(chip)
        view.true_weights(array).fill_(5.0)
        view.true_state(array, Port.DEVICE).fill_(5.0)
        view.device_parameters(array, Port.DEVICE)["w_max"].fill_(5.0)
        assert float(weights_of(chip, array).abs().max()) == 0.0
        assert float(view.device_parameters(array, Port.DEVICE)["w_max"].max()) < 5.0


def test_every_shipped_preset_opens_and_trains() -> None:
    for preset in preset_names():
        with make("reference", preset=preset, seed=3) as chip:
            chip.arm()
            array = chip.allocate("A", *SHAPE, Cell.PAIR)
            chip.apply_pulses(array, random_trains(SHAPE, 2, 10, seed=1))
            assert bool(torch.isfinite(weights_of(chip, array)).all())
            assert bool((weights_of(chip, array) != 0).any())
