"""The compiled passes give what the torch expressions give, bit for bit."""

import pytest
import torch

from rpudriver.nn.passes import extended, gradients, outputs

SHAPES = [(3, 1), (5, 37), (0, 4), (40, 128)]


def drawn(shape: tuple[int, int], columnwise: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values, scale, gain and bias."""
    generator = torch.Generator().manual_seed(2)
    count = shape[1] if columnwise else 1
    scale, gain = torch.rand(2, count, generator=generator) + 0.1
    return torch.randn(shape, generator=generator), scale, gain, torch.randn(shape[1], generator=generator)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_column_of_ones(transposed: bool) -> None:
    x = torch.randn(7, 7, generator=torch.Generator().manual_seed(1))
    x = x.t() if transposed else x
    out, finite = extended(x)
    assert finite
    assert torch.equal(out, torch.cat((x, torch.ones(7, 1)), 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columnwise", [False, True])
def test_outputs(shape: tuple[int, int], columnwise: bool) -> None:
    read, scale, gain, bias = drawn(shape, columnwise)
    out, scaled = outputs(read, scale, gain, bias)
    assert torch.equal(scaled, read * scale)
    assert torch.equal(out, read * scale * gain + bias)
    assert torch.equal(outputs(read, scale, None, bias)[0], read * scale + bias)
    assert torch.equal(outputs(read, scale, gain, None)[0], read * scale * gain)


def test_without_gain_and_bias_even_the_sign_of_zero_stays() -> None:
    out, scaled = outputs(torch.tensor([[-0.0, 0.0, 2.0]]), torch.tensor([0.5]), None, None)
    assert out is scaled
    assert torch.equal(torch.signbit(out), torch.tensor([[True, False, False]]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columnwise", [False, True])
def test_gradients(shape: tuple[int, int], columnwise: bool) -> None:
    grad, scale, gain, _ = drawn(shape, columnwise)
    scaled = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    found = gradients(grad, scale, gain, scaled, wants_bias=True)
    assert found.finite
    assert torch.equal(found.d, -(grad * gain) / scale)
    assert torch.equal(found.back, grad * gain * scale)
    # sums of up to 40 numbers of size 1: float32 rounds each of them to 1e-7 of its size
    torch.testing.assert_close(found.bias, grad.sum(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.gain, (grad * scaled).sum_to_size(gain.shape), rtol=1e-5, atol=1e-4)


def test_what_is_not_wanted_is_not_worked_out() -> None:
    grad, scale, _, _ = drawn((5, 37), True)
    found = gradients(grad, scale, None, None, wants_bias=False)
    assert found.gain is None
    assert found.bias is None
    assert torch.equal(found.d, -grad / scale)


def test_long_sums_are_added_block_by_block() -> None:
    """A sum of 2^20 times 0.1, one after the other in float32, would be off by about one per cent."""
    grad, one = torch.full((2**20, 1), 0.1), torch.ones(1)
    found = gradients(grad, one, one, grad, wants_bias=True)
    assert found.bias is not None
    assert abs(float(found.bias) / (2**20 * 0.1) - 1) < 1e-3


def test_an_expanded_gradient() -> None:
    grad, scale = torch.tensor(0.3).expand(4, 3), torch.tensor([0.7])
    found = gradients(grad, scale, None, None, wants_bias=False)
    assert torch.equal(found.d, -grad / scale)
    assert torch.equal(found.back, grad * scale)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), -float("nan")])
@pytest.mark.parametrize("row", [0, 2])
def test_what_is_not_finite_is_noticed(bad: float, row: int) -> None:
    values, one = torch.zeros(3, 20), torch.ones(1)
    values[row, 19] = bad
    assert not extended(values)[1]
    assert not gradients(values, one, None, None, wants_bias=False).finite
    values[row, 19] = -3.4e38
    assert extended(values)[1]
    assert gradients(values, one, None, None, wants_bias=False).finite
