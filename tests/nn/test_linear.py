import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.errors import ConfigError, NotArmedError, StepError, UnsupportedError
from rpudriver.nn import AnalogLinear, AnalogOptimizer, default_weights
from rpudriver.types import Port
from tests.nn.chips import exact_chip, noisy_chip, set_true_weights, sgd_layer, true_weights


def test_initial_weights_fill_the_chosen_range_and_are_the_default_distribution() -> None:
    weight, bias = default_weights("fc", 40, 25, seed=1)
    assert weight.abs().max() <= 1 / 5
    assert weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.1)  # 1000 numbers: 2 % (sd)
    assert bias.shape == (40,)
    assert not torch.equal(weight, default_weights("fc2", 40, 25, seed=1)[0])
    layer = sgd_layer(25, 40, exact_chip(dw_min=1e-3), seed=1, weight_range=0.7)
    matrix = torch.cat([weight, bias[:, None]], 1)
    assert layer.scale.item() == pytest.approx(float(matrix.abs().max()) / (0.7 * 0.6), rel=1e-6)
    # written to half a step; the estimate is read without noise here
    assert (true_weights(layer) - matrix).abs().max() < 0.51e-3 * layer.scale.item()
    read, read_bias = layer.read_weights()
    assert read_bias is not None
    assert torch.allclose(torch.cat([read, read_bias[:, None]], 1), true_weights(layer), atol=1e-6)


@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("bias", ["analog", "digital", "none"])
def test_outputs_and_input_gradients_equal_those_of_a_digital_layer(bias: Any, columnwise: bool) -> None:
    layer = sgd_layer(7, 5, exact_chip(), bias=bias, columnwise=columnwise, learnable_scale=True)
    assert layer.scale.shape == ((5,) if columnwise else (1,))
    weights = true_weights(layer)
    weight = weights[:, :7].clone().requires_grad_()
    offset = weights[:, 7] if bias == "analog" else None if layer.bias is None else layer.bias.detach()
    x = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    x_digital = x.detach().clone().requires_grad_()
    y, y_digital = layer(x), linear(x_digital, weight, offset)
    assert y.shape == (3, 4, 5)
    assert torch.allclose(y, y_digital, atol=1e-5)
    (y.sin().sum()).backward()
    y_digital.sin().sum().backward()
    assert torch.allclose(x.grad, x_digital.grad, atol=1e-5)
    assert layer.out_scale is not None
    grad_y = y_digital.detach().cos()
    wanted = (grad_y * y_digital.detach()).flatten(0, 1).sum(0)
    if bias == "digital":
        assert torch.allclose(layer.bias.grad, grad_y.flatten(0, 1).sum(0), atol=1e-4)
        wanted = (grad_y * (y_digital.detach() - offset)).flatten(0, 1).sum(0)
    assert torch.allclose(layer.out_scale.grad, wanted if columnwise else wanted.sum()[None], atol=1e-4)


@pytest.mark.parametrize(
    ("backend", "columnwise", "dw_min"),
    [("simulated", False, 1e-5), ("simulated", True, 1e-5), ("reference", False, 1e-4), ("reference", True, 1e-4)],
)
def test_expected_change_of_the_networks_weights_is_minus_lr_times_the_gradient(
    backend: str, columnwise: bool, dw_min: float
) -> None:
    lr, zeros = 0.02, (torch.zeros(4, 6), torch.zeros(4))
    layer = sgd_layer(6, 4, exact_chip(dw_min, name=backend), columnwise=columnwise, initial=zeros)
    before = 0.1 * torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    layer.scale.copy_(torch.linspace(0.3, 1.2, 4) if columnwise else torch.tensor([0.5]))
    set_true_weights(layer, before)
    x = torch.rand(8, 6, generator=torch.Generator().manual_seed(2)) - 0.3
    target = torch.randn(8, 4, generator=torch.Generator().manual_seed(3))
    digital = before.clone().requires_grad_()
    ((linear(x, digital[:, :6], digital[:, 6]) - target) ** 2).mean().backward()
    optimizer = AnalogOptimizer(layer, lr=lr)
    ((layer(x) - target) ** 2).mean().backward()
    optimizer.step()
    change = true_weights(layer) - before
    # Pulses of one device and sample: mean n = lr |x d| / (dw_min scale), variance at most n. In network units the
    # sum over the samples has a standard deviation of at most sqrt(sum lr |x g| dw_min scale).
    augmented = torch.cat([x, torch.ones(8, 1)], 1)
    grad = 2 * (linear(augmented, before) - target) / target.numel()
    spread = torch.sqrt(lr * dw_min * (grad.abs().t() @ augmented.abs()))
    # clipping at BL = 1000 slots never happens: lr max|x| max|d| / dw_min < 1000
    assert ((change + lr * digital.grad).abs() / spread).max() < 4.5  # 28 weights at 4.5 sd: 2e-4
    assert change.abs().mean() > 3 * spread.mean()


def test_learnable_scale_keeps_the_step_of_the_weights_behind_it() -> None:
    layer = sgd_layer(3, 2, exact_chip(1e-5), bias="none", learnable_scale=True)
    with torch.no_grad():
        layer.out_scale.fill_(2.0)
    before, x = true_weights(layer), torch.full((1, 3), 0.5)
    layer(x).sum().backward()
    AnalogOptimizer([layer.handle], lr=0.01).step()
    # dL/dW of y = out_scale * W x at out_scale = 2 is 2 x^T; 2 * 0.5 * 0.01 / (1e-5 scale) > 800 pulses: 4 % (sd)
    assert torch.allclose(true_weights(layer) - before, torch.full((2, 3), -0.01), rtol=0.2)


def test_a_gradient_with_a_graph_is_the_same_and_cannot_be_derived_again() -> None:
    """What a chip reads has no second derivative: without the error it would count as zero."""
    layer = sgd_layer(7, 5, exact_chip())
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (plain,) = torch.autograd.grad(layer(x).square().sum(), x)
    (again,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    assert torch.allclose(plain, again, atol=1e-6)
    with pytest.raises(RuntimeError, match="twice"):
        again.sum().backward()


def test_a_scale_for_each_output_fills_the_range_of_every_row() -> None:
    weight = torch.tensor([[0.1, -0.02], [0.0, 3.0], [0.0, 0.0]])
    for columnwise, largest in ((True, [0.1, 3.0, 3.0]), (False, [3.0])):
        layer = sgd_layer(2, 3, exact_chip(), bias="none", initial=(weight, None), columnwise=columnwise)
        torch.testing.assert_close(layer.scale, torch.tensor(largest) / (0.6 * 0.6))


def test_weights_are_written_and_read_as_the_sum_of_the_arrays() -> None:
    """Tiki-Taka's A counts where gamma says so, after training too."""
    layer = AnalogLinear(4, 3, exact_chip(rows=2, columns=2), TikiTaka(gamma=0.5, fast_lr=0.1), name="fc", bias="none")
    layer.grid.update(torch.ones(2, 4), torch.ones(2, 3), 0.1)
    tile = layer.grid.tiles[0]
    assert oracle(layer.grid.backend).true_weights(tile.state.arrays["A"]).mean() > 0.001
    wanted = torch.linspace(-0.3, 0.3, 12).view(3, 4)
    layer.write_weights(wanted)
    for found in (layer(torch.eye(4)).detach().t(), layer.read_weights()[0]):
        # half a step of 1e-4, and A as it was read, in units of the scale 0.3 / 0.36
        assert torch.allclose(found, wanted, atol=1e-4)


def test_a_grid_of_tiles_computes_and_trains_like_one_array() -> None:
    whole = sgd_layer(20, 11, exact_chip())
    tiled = sgd_layer(20, 11, exact_chip(rows=4, columns=8))
    assert [len(layer.grid.tiles) for layer in (whole, tiled)] == [1, 9]
    set_true_weights(tiled, true_weights(whole))
    x = torch.randn(5, 20, generator=torch.Generator().manual_seed(1)).requires_grad_()
    grads = []
    for layer in (whole, tiled):
        x.grad = None
        y = layer(x)
        assert torch.allclose(y, linear(x, true_weights(whole)[:, :20], true_weights(whole)[:, 20]), atol=1e-5)
        y.square().sum().backward()
        grads.append(x.grad)
    assert torch.allclose(*grads, atol=1e-4)
    # with |x| = |d| = 1 and lr = 50 dw_min every slot of 50 fires: nothing is left to chance
    sign_x = torch.randn(1, 21, generator=torch.Generator().manual_seed(2)).sign()
    sign_d = torch.randn(1, 11, generator=torch.Generator().manual_seed(3)).sign()
    for layer in (whole, tiled):
        before = true_weights(layer)
        layer.grid.update(sign_x, sign_d, 50e-4)
        moved = (true_weights(layer) - before) / layer.scale
        assert torch.allclose(moved, 50e-4 * sign_d.t() @ sign_x, atol=1e-5)


def test_every_tile_saturates_by_itself() -> None:
    chip = make("simulated", preset="idealised", chip={"rows": 4, "columns": 4, "output_bound": 1.0, "input_bits": 0})
    chip.arm()
    layer = sgd_layer(8, 4, chip, bias="none", initial=(torch.full((4, 8), 0.6), None), weight_range=1.0)
    reads = chip.status().cost["reads"]
    y = layer(torch.cat([torch.ones(1, 4), torch.full((1, 4), 0.25)], 1))
    # each tile: sum of 4 * 0.6 = 2.4 beyond its bound of 1, so it is read at 1, 1/2 and 1/4 of the input
    assert chip.status().cost["reads"] - reads == 6
    # half a converter step, times the divisors 4 and 4 / 4; half a step of 0.001 on each weight
    assert torch.allclose(y, torch.full((1, 4), 2.4 * 1.25), atol=5 * 0.5 / 255 + 5 * 0.5e-3)


def test_recording_follows_modes_order_and_zero_grad() -> None:
    layer = sgd_layer(3, 2, exact_chip(), bias="none")
    x = torch.eye(3)
    with torch.no_grad():
        assert not layer(x).requires_grad
    layer.eval()
    layer(x).sum().backward()
    assert layer._recorder.take() is None
    layer.train()
    inputs = x.clone().requires_grad_()
    torch.autograd.grad(layer(inputs).sum(), inputs)  # asks for no weight gradient
    assert layer._recorder.take() is None
    (layer(x[:1]).sum() + 2 * layer(x[1:2]).sum() + 3 * layer(x[2:]).sum()).backward()
    recorded, d = layer._recorder.take()
    assert torch.equal(recorded, x)  # in the order of the calls
    assert torch.allclose(d, -torch.tensor([[1.0], [2.0], [3.0]]).expand(3, 2) / layer.scale)
    layer(x).sum().backward()
    layer.zero_grad()
    layer(x[:1]).sum().backward()
    layer(x[1:]).sum().backward()  # without zero_grad in between, gradients add up
    assert len(layer._recorder) == 2
    assert layer._recorder.take()[0].shape == (3, 3)
    layer.handle.requires_grad_(False)
    layer(x.clone().requires_grad_()).sum().backward()
    assert layer._recorder.take() is None


def test_zero_shifted_arrays_read_as_zero_unless_declined() -> None:
    sizes = {}
    for shifted in (True, False):
        chip = noisy_chip(device={"up_down_d2d": 0.2})
        layer = AnalogLinear(12, 10, chip, TikiTaka(), name="fc", zero_shift=shifted)
        array = layer.grid.tiles[0].state.arrays["A"]
        p = oracle(chip).device_parameters(array, Port.DEVICE)
        point = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
        sizes[shifted] = float((point - oracle(chip).true_state(array, Port.REFERENCE)).square().mean().sqrt())
    # spread of the points 0.2 * 0.6 = 0.12 against 0.018 of pulse noise and half a step of 0.012
    assert sizes[False] > 0.08
    assert sizes[True] < 0.03


def test_what_cannot_work_is_refused_before_anything_is_sent() -> None:
    one_way = exact_chip(transposed_reads=False)
    with pytest.raises(UnsupportedError, match="no transposed reads, which back-propagation needs"):
        sgd_layer(3, 2, one_way)
    assert not one_way.status().arrays
    chip = exact_chip()
    layer = sgd_layer(3, 2, chip)
    with pytest.raises(ConfigError, match="choose another name"):
        sgd_layer(3, 2, chip)
    for options in ({"bias": "yes"}, {"weight_range": 1.2}, {"weight_range": 0.0}, {"name": ""}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            sgd_layer(3, 2, chip, **{"name": "other", **options})
    with pytest.raises(StepError, match=r"\(2, 3\).*got \(3, 2\)"):
        sgd_layer(3, 2, chip, name="other", initial=(torch.zeros(3, 2), None))
    cost = chip.status().cost
    for x in (torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.float64), torch.full((1, 3), math.nan)):
        with pytest.raises(StepError, match="'fc'"):
            layer(x)
    y = layer(torch.ones(1, 3))
    spent = chip.status().cost
    with pytest.raises(StepError, match="gradient at layer 'fc' holds NaN"):
        (y * math.nan).sum().backward()
    assert cost["reads"] + 1 == spent["reads"] == chip.status().cost["reads"]
    with pytest.raises(NotArmedError):
        AnalogLinear(3, 2, make("null", preset="idealised"), AnalogSGD(), name="fc")


def test_zero_weights_and_empty_batches() -> None:
    layer = sgd_layer(3, 2, exact_chip(), initial=(torch.zeros(2, 3), torch.zeros(2)))
    assert layer(torch.zeros(0, 3)).shape == (0, 2)
    assert torch.allclose(layer(torch.ones(1, 3)), torch.zeros(1, 2), atol=1e-5)
    layer(torch.zeros(0, 3)).sum().backward()
    AnalogOptimizer(layer, lr=0.1).step()


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_are_refused_with_the_cure(copier: Any) -> None:
    model = torch.nn.Sequential(sgd_layer(3, 2, exact_chip()))
    for thing in (model[0], model[0].handle):
        if copier is not copy.copy or thing is model[0]:
            with pytest.raises(ConfigError, match="state_dict"):
                copier(thing)
    if copier is not copy.copy:
        with pytest.raises(ConfigError, match="state_dict"):
            copier(model)
