"""Noise and bound management around reads."""

from collections.abc import Callable

import numba as nb
import numpy as np
import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.normalising import divide, multiply
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.errors import StepError
from rpudriver.reading import managed_read, managed_reads
from rpudriver.types import Array, Port
from tests.assembly import assembly, needs_avx2, vector_instructions


def chip_with(weights: torch.Tensor, **chip: float) -> tuple[CrossbarBackend, Array]:
    backend = make("simulated", preset="idealised", chip={"input_bits": 0, "output_bits": 0, **chip})
    backend.arm()
    array = backend.allocate("W", *weights.shape)
    oracle(backend).set_true_state(array, Port.DEVICE, weights)
    return backend, array


def weights(n_out: int, n_in: int) -> torch.Tensor:
    return torch.rand(n_out, n_in, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 700.0])
@pytest.mark.parametrize("input_bound", [1.0, 0.3])
def test_inputs_of_any_size_are_read(size: float, input_bound: float) -> None:
    w = weights(5, 4)
    backend, array = chip_with(w, input_bound=input_bound)
    x = size * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(managed_read(backend, ((array, 1.0),), x), x @ w.t(), rtol=1e-4, atol=1e-6 * size)
    d = size * torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    back = managed_read(backend, ((array, 2.0),), d, transposed=True)
    torch.testing.assert_close(back, 2 * d @ w, rtol=1e-4, atol=1e-6 * size)


def test_only_vectors_that_saturate_are_repeated_and_zero_ones_are_not_sent() -> None:
    backend, array = chip_with(torch.full((2, 4), 0.5), output_bound=0.6)
    x = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    y = managed_read(backend, ((array, 1.0),), x)
    torch.testing.assert_close(y, (x.sum(1, keepdim=True) * 0.5).expand(4, 2))
    # 0.5 passes at once; 1.0 at half the input; 2.0 at a quarter
    assert backend.status().cost["reads"] == 1 + 0 + 3 + 2


@pytest.mark.parametrize("transposed", [False, True])
def test_a_lone_vector_of_zeros_is_not_sent_and_one_without_a_size_is_refused(transposed: bool) -> None:
    backend, array = chip_with(weights(4, 4))
    assert not managed_read(backend, ((array, 1.0),), torch.zeros(1, 4), transposed=transposed).any()
    for bad in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(StepError, match="must be finite"):
            managed_read(backend, ((array, 1.0),), torch.tensor([[0.5, bad, 0.0, 1.0]]), transposed=transposed)
    assert backend.status().cost["reads"] == 0
    x = torch.tensor([[0.5, -2.0, 0.0, 1.0]])
    expected = x @ (weights(4, 4) if transposed else weights(4, 4).t())
    torch.testing.assert_close(managed_read(backend, ((array, 1.0),), x, transposed=transposed), expected)
    assert backend.status().cost["reads"] == 1


def test_halvings_are_bounded_and_the_last_clipped_value_is_kept() -> None:
    backend, array = chip_with(torch.full((1, 4), 0.5), output_bound=0.6)
    y = managed_read(backend, ((array, 1.0),), torch.ones(1, 4), max_halvings=1)
    assert y.item() == pytest.approx(1.2)
    assert backend.status().cost["reads"] == 2


def test_several_jobs_share_the_calls_of_the_chip() -> None:
    w = weights(5, 4)
    backend, array = chip_with(w, output_bound=0.4)
    jobs = [(((array, 1.0),), torch.randn(b, 4, generator=torch.Generator().manual_seed(b))) for b in (3, 0, 2)]
    for (_, x), y in zip(jobs, managed_reads(backend, jobs), strict=True):
        torch.testing.assert_close(y, x @ w.t(), rtol=1e-4, atol=1e-5)


def test_armed_limits_on_the_input_are_kept() -> None:
    w = weights(5, 4)
    backend, array = chip_with(w)
    backend.arm(Limits(max_input=0.1))
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(managed_read(backend, ((array, 1.0),), x), x @ w.t(), rtol=1e-4, atol=1e-5)


def test_without_noise_management_the_chip_refuses_large_inputs_and_nan_always() -> None:
    backend, array = chip_with(weights(2, 2))
    with pytest.raises(StepError, match="Scale x down"):
        managed_read(backend, ((array, 1.0),), torch.full((1, 2), 1.5), noise_management=False)
    with pytest.raises(StepError, match="finite"):
        managed_read(backend, ((array, 1.0),), torch.tensor([[torch.nan, 1.0]]))


def test_the_compiled_passes_are_those_of_torch_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.randn(20, 37, generator=g) * torch.logspace(-40, 30, 20)[:, None]
    x[5], x[7, 3], x[8, 0] = 0.0, torch.nan, torch.inf
    bound = 0.3
    divisor, sent = np.empty((20, 1), np.float32), np.empty((20, 37), np.float32)
    assert divide(x.data_ptr(), 20, 37, bound, divisor.ctypes.data, sent.ctypes.data)
    expected = x.abs().amax(1, keepdim=True) / bound
    torch.testing.assert_close(torch.from_numpy(divisor), expected, rtol=0, atol=0, equal_nan=True)
    scaled = (x / expected).clamp(-bound, bound)
    torch.testing.assert_close(torch.from_numpy(sent), scaled, rtol=0, atol=0, equal_nan=True)
    out = np.empty((20, 37), np.float32)
    multiply(sent.ctypes.data, 20, 37, divisor.ctypes.data, out.ctypes.data)
    torch.testing.assert_close(torch.from_numpy(out), scaled * expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("vectors", [1, 3])
def test_views_are_read_as_what_they_say(vectors: int) -> None:
    whole = torch.randn(vectors, 12, generator=torch.Generator().manual_seed(4))
    strided, repeated = whole[:, ::2], whole[:1, :6].expand(vectors, 6)
    negated = torch._neg_view(whole[:, :6].contiguous())  # shares memory, sign pending
    for view in (strided, repeated, negated, whole[:, :6].contiguous().requires_grad_()):
        outs = []
        for x in (view, view.detach().clone().resolve_neg().contiguous()):
            backend, array = chip_with(weights(5, 6))
            outs.append(managed_read(backend, ((array, 1.0),), x))
        torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=0)


@pytest.mark.parametrize("view", [lambda x: x[:, ::2], lambda x: torch._neg_view(x[:, :6].contiguous())])
def test_the_chip_reads_views_of_a_vector_as_what_they_say(view: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = view(torch.empty(1, 12).uniform_(-1, 1, generator=torch.Generator().manual_seed(5)))
    first, again = (chip_with(weights(5, 6)) for _ in range(2))
    expected = again[0].read_matvec(again[1], x.resolve_neg().clone(memory_format=torch.contiguous_format))
    torch.testing.assert_close(first[0].read_matvec(first[1], x).values, expected.values, rtol=0, atol=0)
    with pytest.raises(StepError, match="the largest is 2"):
        first[0].read_matvec(first[1], view(torch.full((1, 12), -2.0)))


@needs_avx2
def test_hot_loops_are_vectorised() -> None:
    at, count = nb.int64, nb.int64
    text = assembly(divide, (at, count, count, nb.float64, at, at))
    assert vector_instructions(text, "vpmaxud") >= 1
    assert vector_instructions(text, "vdivps") >= 1
    assert vector_instructions(assembly(multiply, (at, count, count, at, at)), "vmulps") >= 1
