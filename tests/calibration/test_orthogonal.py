import math

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.orthogonal import Reading, amplitude_for, pass_length, read_orthogonal
from rpudriver.types import Array, Port
from tests.calibration.faulty import Damage, Faulty


def programmed(chip: CrossbarBackend, weights: torch.Tensor) -> Array:
    chip.arm()
    array = chip.allocate("W", *weights.shape)
    oracle(chip).set_true_state(array, Port.DEVICE, weights)
    return array


def some_weights(n_out: int, n_in: int) -> torch.Tensor:
    return 0.4 * torch.rand(n_out, n_in, generator=torch.Generator().manual_seed(1)) - 0.2


@pytest.mark.parametrize(("n_out", "n_in"), [(3, 1), (1, 2), (5, 7), (4, 8)])
def test_without_noise_and_converters_weights_are_exact(n_out: int, n_in: int) -> None:
    chip = make("simulated", preset="idealised", chip={"input_bits": 0, "output_bits": 0})
    weights = some_weights(n_out, n_in)
    reading = read_orthogonal(chip, programmed(chip, weights), 1, 0.7, seed=0, step=0)
    assert torch.allclose(reading.weights, weights.double(), atol=1e-6)
    assert reading.vectors == 2 * (1 << (n_in - 1).bit_length())


def test_standard_errors_are_those_of_the_weights_and_offset_and_noise_are_found() -> None:
    offset = tuple(0.3 * row for row in range(-4, 4))
    chip = Faulty(Damage(offset=offset), chip={"output_bits": 0})
    weights = some_weights(8, 30)
    array = programmed(chip, weights)
    true = oracle(chip).true_weights(array).double()
    off, factor = [], []
    for step in range(20):
        reading = read_orthogonal(chip, array, 2, 0.5, 0, step)
        off.append(reading.weights - true)
        factor.append(reading.factor)
    assert torch.allclose(factor[0], torch.full((8,), 1 / 0.5 / math.sqrt(2 * pass_length(array)), dtype=torch.float64))
    z = torch.stack(off) / (0.06 * factor[0][0])
    # 4800 weights: their standard deviation is known to 1 %
    assert float(z.std()) == pytest.approx(1.0, abs=0.04)
    # noise from 128 vectors to 6 % in each of 8 rows, the offset to 0.06 / sqrt(128) = 0.005
    assert torch.allclose(reading.noise, torch.full((8,), 0.06, dtype=torch.float64), rtol=0.25)
    assert torch.allclose(reading.offset, torch.tensor(offset, dtype=torch.float64), atol=0.02)


def large(bound: float) -> tuple[CrossbarBackend, Array, torch.Tensor]:
    chip = make("simulated", preset="idealised", chip={"input_bits": 0, "output_bits": 0, "output_bound": bound})
    weights = torch.full((4, 64), 0.5)
    return chip, programmed(chip, weights), weights


def test_saturated_pairs_are_read_again_and_never_used() -> None:
    chip, array, weights = large(bound=5.0)
    reading = read_orthogonal(chip, array, 1, 1.0, 0, 0)
    assert reading.reread > 0
    assert torch.allclose(reading.weights, weights.double(), atol=1e-5)
    assert float(reading.factor[0]) > 1 / math.sqrt(pass_length(array))  # smaller inputs leave larger errors


def test_the_amplitude_keeps_outputs_off_the_bound() -> None:
    chip, array, weights = large(bound=5.0)
    amplitude = amplitude_for(chip, float(weights[0].norm()))
    assert amplitude == pytest.approx(5.0 / 4 / 4)
    assert read_orthogonal(chip, array, 8, amplitude, 0, 0).reread == 0
    coarse = make("simulated", preset="idealised", chip={"input_bits": 4, "output_bound": 5.0})
    assert amplitude_for(coarse, 4.0) == pytest.approx(2 / 7)  # the level of the converter below 5 / 16


def test_an_output_that_saturates_without_reason_is_not_a_number_and_others_are_read() -> None:
    chip = Faulty(Damage(saturated=(1,)))
    array = programmed(chip, some_weights(3, 8))
    reading: Reading = read_orthogonal(chip, array, 40, 1.0, 0, 0)
    assert bool(reading.weights[1].isnan().all())
    assert torch.allclose(reading.weights[[0, 2]], some_weights(3, 8)[[0, 2]].double(), atol=0.02)
