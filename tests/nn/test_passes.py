"""The compiled passes give what the torch expressions give."""

import pytest
import torch

from rpudriver.nn.passes import extended, gradients, outputs

SHAPES = [(3, 1), (5, 37), (40, 10), (0, 4)]


@pytest.mark.parametrize("transposed", [False, True])
def test_a_column_of_ones(transposed: bool) -> None:
    x = torch.randn(7, 7, generator=torch.Generator().manual_seed(1))
    x = x.t() if transposed else x
    out, finite = extended(x)
    assert finite
    assert torch.equal(out, torch.cat((x, torch.ones(7, 1)), 1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("learnt", [False, True])
def test_outputs_and_their_gradients(shape: tuple[int, int], columnwise: bool, learnt: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    read, grad = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    size = shape[1] if columnwise else 1
    scale = torch.rand(size, generator=generator) + 0.1
    gain = (torch.rand(size, generator=generator) + 0.5).requires_grad_() if learnt else None
    bias = torch.randn(shape[1], generator=generator).requires_grad_() if learnt else None
    expected = read * scale
    if gain is not None and bias is not None:
        expected = expected * gain + bias
        expected.backward(grad)  # type: ignore[no-untyped-call]
    h = grad if gain is None else grad * gain.detach()

    out, scaled = outputs(read, scale, gain, bias)
    torch.testing.assert_close(out, expected.detach(), rtol=1e-6, atol=1e-6)  # a fused multiply-add rounds once
    assert torch.equal(scaled, read * scale)
    found = gradients(grad, scale, gain, scaled if learnt else None, learnt)
    assert found.finite
    assert torch.equal(found.d, -h / scale)
    assert torch.equal(found.back, h * scale)
    for value, leaf in ((found.gain, gain), (found.bias, bias)):
        if leaf is None:
            assert value is None
        else:  # sums of up to 400 terms of size 1, in another order
            torch.testing.assert_close(value, leaf.grad, rtol=1e-5, atol=1e-4)


def test_an_expanded_gradient() -> None:
    grad, scale = torch.tensor(0.3).expand(4, 3), torch.tensor([0.7])
    found = gradients(grad, scale, None, None, False)
    assert torch.equal(found.d, -grad / scale)
    assert torch.equal(found.back, grad * scale)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), -float("nan")])
@pytest.mark.parametrize("row", [0, 2])
def test_what_is_not_finite_is_noticed(bad: float, row: int) -> None:
    values = torch.zeros(3, 20)
    values[row, 19] = bad
    assert not extended(values)[1]
    assert not gradients(values, torch.ones(1), None, None, False).finite
    values[row, 19] = -3.4e38
    assert extended(values)[1]
    assert gradients(values, torch.ones(1), None, None, False).finite
