"""Reads of the reference backend: products, transposes, sums, converters, saturation and noise."""

from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Array, Cell, Read
from tests.backends.reference_chip import assert_normal, open_chip, set_weights, weights_of

SEED = 7  # of open_chip
WEIGHTS = torch.tensor([[0.5, -1.0, 0.25], [2.0, 0.0, -0.75]], dtype=torch.float64)


def chip_with(
    weights: torch.Tensor, read: dict[str, Any] | None = None, chip: dict[str, Any] | None = None, name: str = "A"
) -> tuple[CrossbarBackend, Array]:
    backend = open_chip(read=read, chip=chip)
    array = backend.allocate(name, *weights.shape)
    set_weights(backend, array, weights)
    return backend, array


def inputs(samples: int, lines: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(samples, lines, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def noise(stream: str, vectors: int, lines: int) -> np.ndarray:
    rows = [keyed.gaussian(keyed.key(SEED, stream, n), np.arange(lines), 0) for n in range(vectors)]
    return np.array(rows, dtype=np.float64)


class TestProducts:
    @pytest.mark.parametrize("cell", list(Cell))
    def test_forward_and_transposed(self, cell: Cell) -> None:
        backend = open_chip()
        array = backend.allocate("A", 2, 3, cell)
        set_weights(backend, array, WEIGHTS)
        x, d = inputs(4, 3), inputs(5, 2)
        assert torch.allclose(backend.read_matvec(array, x).values.double(), x.double() @ WEIGHTS.T, atol=1e-6)
        back = backend.read_matvec(array, d, transposed=True).values
        assert torch.allclose(back.double(), d.double() @ WEIGHTS, atol=1e-6)

    def test_reads_do_not_disturb(self) -> None:
        backend, array = chip_with(WEIGHTS, {"output_noise": 0.1, "weight_noise": 0.1})
        before = weights_of(backend, array)
        backend.read_matvec(array, inputs(50, 3))
        assert torch.equal(weights_of(backend, array), before)

    def test_weighted_sum_of_arrays(self) -> None:
        backend, a = chip_with(WEIGHTS)
        b = backend.allocate("B", 2, 3)
        set_weights(backend, b, -2 * WEIGHTS)
        x = inputs(3, 3)
        values = backend.run([Read(((a, 1.0), (b, 0.25)), x)])[0].values
        assert torch.allclose(values.double(), 0.5 * x.double() @ WEIGHTS.T, atol=1e-6)


class TestConverters:
    def test_input_levels(self) -> None:
        backend, array = chip_with(torch.eye(1, dtype=torch.float64), chip={"input_bits": 3})
        x = torch.linspace(-1, 1, 201)[:, None]
        values = backend.read_matvec(array, x).values
        step = 1 / 3  # 2^3 - 1 levels over [-1, 1]
        assert torch.allclose(values.unique(), torch.arange(-3, 4) * step, atol=1e-6)
        assert float((values - x).abs().max()) <= step / 2 + 1e-6
        assert float(values[100]) == 0.0

    def test_ties_go_to_the_even_level(self) -> None:
        backend, array = chip_with(torch.eye(1, dtype=torch.float64), chip={"input_bits": 7})
        values = backend.read_matvec(array, torch.tensor([[0.5], [-0.5]])).values  # +-31.5 steps of 1/63
        assert torch.allclose(values[:, 0], torch.tensor([32.0, -32.0]) / 63)

    def test_output_levels_bound_and_flags(self) -> None:
        chip = {"output_bits": 4, "output_bound": 2.0}
        backend, array = chip_with(torch.tensor([[4.0]], dtype=torch.float64), chip=chip)
        x = torch.linspace(-1, 1, 401)[:, None]
        result = backend.read_matvec(array, x)
        step = 2 / 7
        assert torch.allclose(result.values.unique(), torch.arange(-7, 8) * step, atol=1e-6)
        assert float((result.values - (4 * x).clamp(-2, 2)).abs().max()) <= step / 2 + 1e-6
        assert torch.equal(result.saturated, (4 * x).abs() >= 2)

    def test_the_bound_itself_counts_as_saturated(self) -> None:
        backend, array = chip_with(torch.tensor([[2.0]], dtype=torch.float64), chip={"output_bound": 2.0})
        result = backend.read_matvec(array, torch.tensor([[1.0], [-1.0], [0.999]]))
        assert result.saturated[:, 0].tolist() == [True, True, False]
        assert result.values[:2, 0].tolist() == [2.0, -2.0]

    def test_without_a_bound_nothing_saturates(self) -> None:
        backend, array = chip_with(torch.full((1, 1), 9.0, dtype=torch.float64), chip={"output_bits": 4})
        result = backend.read_matvec(array, torch.tensor([[0.93]]))
        assert float(result.values) == pytest.approx(9 * 0.93, rel=1e-6)
        assert not bool(result.saturated.any())

    def test_noise_can_saturate(self) -> None:
        weights = torch.full((400, 1), 1.0, dtype=torch.float64)
        backend, array = chip_with(weights, {"output_noise": 0.5}, {"output_bound": 1.0})
        result = backend.read_matvec(array, torch.ones(1, 1))
        share = float(result.saturated.double().mean())
        assert abs(share - 0.5) < 5 * 0.5 / 400**0.5
        assert float(result.values.max()) == 1.0


class TestNoise:
    @pytest.mark.parametrize("transposed", [False, True])
    def test_output_noise(self, transposed: bool) -> None:
        backend, array = chip_with(WEIGHTS, {"output_noise": 0.06})
        x = inputs(800, 2 if transposed else 3)
        off = backend.read_matvec(array, x, transposed).values.double() - x.double() @ (
            WEIGHTS if transposed else WEIGHTS.T
        )
        assert_normal(off, 0.0, 0.06)
        stream = "A/output-t" if transposed else "A/output"
        np.testing.assert_allclose(off.numpy(), 0.06 * noise(stream, 800, off.shape[1]), atol=1e-6)

    def test_input_noise_is_seen_through_the_weights(self) -> None:
        backend, array = chip_with(WEIGHTS, {"input_noise": 0.05})
        x = inputs(800, 3)
        off = backend.read_matvec(array, x).values.double() - x.double() @ WEIGHTS.T
        for i in range(2):
            assert_normal(off[:, i], 0.0, 0.05 * float(WEIGHTS[i].norm()))
        np.testing.assert_allclose(off.numpy(), 0.05 * noise("A/input", 800, 3) @ WEIGHTS.numpy().T, atol=1e-6)

    def test_input_noise_comes_after_the_converter(self) -> None:
        one = torch.eye(1, dtype=torch.float64)
        backend, array = chip_with(one, {"input_noise": 0.05}, {"input_bits": 3})
        values = backend.read_matvec(array, torch.full((50, 1), 0.3)).values.double()  # 0.3 converts to 1/3
        np.testing.assert_allclose(values.numpy(), 1 / 3 + 0.05 * noise("A/input", 50, 1), atol=1e-6)

    @pytest.mark.parametrize("transposed", [False, True])
    def test_weight_noise_grows_with_the_input(self, transposed: bool) -> None:
        backend, array = chip_with(WEIGHTS, {"weight_noise": 0.02})
        x = inputs(800, 2 if transposed else 3)
        y = x.double() @ (WEIGHTS if transposed else WEIGHTS.T)
        off = backend.read_matvec(array, x, transposed).values.double() - y
        assert_normal(off / x.double().norm(dim=1, keepdim=True), 0.0, 0.02)

    def test_weight_noise_equals_fresh_noise_on_every_weight(self) -> None:
        """The specification's Gaussian has the spread of y with W + 0.02 xi, xi fresh for each weight and vector."""
        x = torch.tensor([0.9, -0.3, 0.4], dtype=torch.float64)
        fresh = 0.02 * torch.randn(4000, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        backend, array = chip_with(WEIGHTS, {"weight_noise": 0.02})
        values = backend.read_matvec(array, x.float().expand(2000, 3)).values.double()
        ours, theirs = float((values - WEIGHTS @ x).std()), float(((WEIGHTS + fresh) @ x).sub(WEIGHTS @ x).std())
        assert abs(ours / theirs - 1) < 5 * (1 / 8000 + 1 / 16000) ** 0.5

    def test_weight_noise_of_a_sum(self) -> None:
        backend, a = chip_with(WEIGHTS, {"weight_noise": 0.02})
        b = backend.allocate("B", 2, 3)
        x = torch.ones(800, 3)
        values = backend.run([Read(((a, 1.0), (b, -2.0)), x)])[0].values.double()
        assert_normal(values - x.double() @ WEIGHTS.T, 0.0, 0.02 * 3**0.5 * 5**0.5)

    @pytest.mark.parametrize(("summed", "factor"), [(True, 1.0), (False, (1 + 4) ** 0.5)])
    def test_one_converter_noise_where_the_chip_can_sum(self, summed: bool, factor: float) -> None:
        backend, a = chip_with(WEIGHTS, {"output_noise": 0.06}, {"summed_reads": summed})
        b = backend.allocate("B", 2, 3)
        x = inputs(800, 3)
        values = backend.run([Read(((a, 1.0), (b, -2.0)), x)])[0].values.double()
        assert_normal(values - x.double() @ WEIGHTS.T, 0.0, 0.06 * factor)

    def test_vectors_are_numbered_by_array(self) -> None:
        """Two reads of one array go on counting; a sum draws under the name and number of its first array."""
        backend, a = chip_with(WEIGHTS, {"output_noise": 0.06})
        b = backend.allocate("B", 2, 3)
        x = torch.zeros(3, 3)
        first, second = backend.run([Read(((a, 1.0),), x), Read(((b, 1.0), (a, 1.0)), x)])
        third = backend.read_matvec(a, x)
        stream = 0.06 * noise("A/output", 9, 2)
        np.testing.assert_allclose(first.values, stream[:3], atol=1e-6)
        np.testing.assert_allclose(second.values, 0.06 * noise("B/output", 3, 2), atol=1e-6)
        np.testing.assert_allclose(third.values, stream[6:], atol=1e-6)
