from typing import Any

import pytest
import torch
from torch.nn.utils.prune import random_unstructured

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.registry import make
from rpudriver.errors import AllocationError, ConfigError
from rpudriver.nn import AnalogLinear, AnalogOptimizer, convert
from tests.nn.chips import exact_chip


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 5, bias=False))
        self.norm = torch.nn.LayerNorm(5)
        self.head = torch.nn.Linear(5, 3)
        self.again = self.head  # one layer in two places

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.again(self.norm(self.body(x)))
        return out


@pytest.mark.parametrize("bias", ["analog", "digital"])
def test_a_converted_model_computes_the_same_and_leaves_the_original_alone(bias: Any) -> None:
    torch.manual_seed(0)
    model, chip = Net().eval(), exact_chip()
    model.body[0].weight.requires_grad_(False)
    analog = convert(model, chip, AnalogSGD(), bias=bias, prefix="net.")
    assert isinstance(model.head, torch.nn.Linear)
    assert isinstance(analog.norm, torch.nn.LayerNorm)
    assert analog.head is analog.again
    assert not analog.head.training
    assert not analog.body[0].handle.requires_grad
    assert analog.body[2].bias_kind == "none"
    assert {array.name.split("/")[0] for array in chip.status().arrays} == {"net.body.0", "net.body.2", "net.head"}
    x = torch.randn(4, 6)
    # weights are written to half a step of 1e-4, relative to a range of 0.36
    assert torch.allclose(analog(x), model(x), atol=2e-3)
    analog.train()
    analog(x).square().sum().backward()
    AnalogOptimizer(analog, lr=0.01).step()
    assert (analog(x) - model(x)).abs().max() > 0.01


def test_a_single_layer_can_be_converted() -> None:
    analog = convert(torch.nn.Linear(3, 2), exact_chip(), AnalogSGD(), weight_range=0.5)
    assert isinstance(analog, AnalogLinear)
    assert analog.name == "linear"


def test_what_cannot_be_converted_is_named() -> None:
    chip = exact_chip()
    tied = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5))
    tied[1].weight = tied[0].weight
    pruned, hooked = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    random_unstructured(pruned, "weight", 0.5)
    hooked.register_forward_hook(lambda module, args, output: 0 * output)
    cases = [
        (torch.nn.Sequential(torch.nn.Tanh()), "no torch.nn.Linear"),
        (torch.nn.MultiheadAttention(4, 2), "'out_proj' is a NonDynamicallyQuantizableLinear"),
        (torch.nn.Linear(3, 2).double(), r"float64 weights; call model\.float"),
        (tied, "'1' shares its weights"),
        (torch.nn.Sequential(pruned), "'0' has hooks, or weights that are computed"),
        (torch.nn.Sequential(hooked), "'0' has hooks"),
    ]
    for model, message in cases:
        with pytest.raises(ConfigError, match=message):
            convert(model, chip, AnalogSGD())
    with pytest.raises(ConfigError, match="has a bias"):
        convert(torch.nn.Linear(3, 2), chip, AnalogSGD(), bias="none")
    with pytest.raises(TypeError, match="weight_rang"):
        convert(torch.nn.Linear(3, 2), chip, AnalogSGD(), weight_rang=0.5)
    assert not chip.status().arrays


def test_a_network_too_large_for_the_chip_is_refused_before_anything_is_sent() -> None:
    chip = make("simulated", preset="asymmetric-100", profile="small", chip={"arrays": 9})
    chip.arm()
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 10))
    with pytest.raises(AllocationError, match="number 7 of those planned"):
        convert(model, chip, TTv2())  # the 3 tiles of layer 1 take all 9 arrays
    assert chip.status().arrays == ()
    assert chip.status().cost["reads"] == 0
