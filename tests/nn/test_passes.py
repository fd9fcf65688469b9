"""The compiled passes give what the torch expressions give, bit for bit."""

import pytest
import torch

from rpudriver.nn.passes import extended, scaled_gradients


@pytest.mark.parametrize("transposed", [False, True])
def test_a_column_of_ones(transposed: bool) -> None:
    x = torch.randn(7, 7, generator=torch.Generator().manual_seed(1))
    x = x.t() if transposed else x
    out, finite = extended(x)
    assert finite
    assert torch.equal(out, torch.cat((x, torch.ones(7, 1)), 1))


@pytest.mark.parametrize("shape", [(3, 1), (5, 37), (0, 4)])
@pytest.mark.parametrize("columnwise", [False, True])
def test_gradients_in_both_scales(shape: tuple[int, int], columnwise: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    grad = torch.randn(shape, generator=generator)
    scale = torch.rand(shape[1] if columnwise else 1, generator=generator) + 0.1
    divided, multiplied, finite = scaled_gradients(grad, scale)
    assert finite
    assert torch.equal(divided, -grad / scale)
    assert torch.equal(multiplied, grad * scale)


def test_an_expanded_gradient() -> None:
    grad, scale = torch.tensor(0.3).expand(4, 3), torch.tensor([0.7])
    divided, multiplied, _ = scaled_gradients(grad, scale)
    assert torch.equal(divided, -grad / scale)
    assert torch.equal(multiplied, grad * scale)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), -float("nan")])
@pytest.mark.parametrize("row", [0, 2])
def test_what_is_not_finite_is_noticed(bad: float, row: int) -> None:
    values = torch.zeros(3, 20)
    values[row, 19] = bad
    assert not extended(values)[1]
    assert not scaled_gradients(values, torch.ones(1))[2]
    values[row, 19] = -3.4e38
    assert extended(values)[1]
    assert scaled_gradients(values, torch.ones(1))[2]
