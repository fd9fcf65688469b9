import math

import pytest
import torch

from rpudriver.errors import ConfigError
from rpudriver.nn import AnalogOptimizer
from tests.nn.chips import exact_chip, sgd_layer, true_weights


def mixed_model() -> torch.nn.Sequential:
    return torch.nn.Sequential(sgd_layer(4, 3, exact_chip(), bias="none"), torch.nn.Linear(3, 2))


def one_pass(model: torch.nn.Module) -> torch.Tensor:
    loss: torch.Tensor = model(torch.ones(2, 4)).square().sum()
    loss.backward()
    return loss


def test_one_loop_trains_analog_and_digital_parameters() -> None:
    model = mixed_model()
    optimizer = AnalogOptimizer(model, lr=0.05, digital_lr=0.01)
    assert sorted(group["lr"] for group in optimizer.param_groups) == [0.01, 0.05]
    analog, digital = true_weights(model[0]), model[1].weight.detach().clone()
    one_pass(model)
    optimizer.step()
    assert torch.allclose(model[1].weight, digital - 0.01 * model[1].weight.grad)
    assert (true_weights(model[0]) - analog).abs().max() > 1e-3
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(one_pass(model).item())
        optimizer.step()
    assert losses[-1] < 0.05 * losses[0]


def test_a_step_uses_up_its_pairs_and_zero_grad_drops_them() -> None:
    model = mixed_model()
    optimizer = AnalogOptimizer(model.parameters(), lr=0.05)
    one_pass(model)
    optimizer.step()
    after = true_weights(model[0])
    optimizer.step()  # nothing new was recorded
    assert torch.equal(true_weights(model[0]), after)
    for clear in (optimizer.zero_grad, model.zero_grad, lambda: optimizer.zero_grad(set_to_none=False)):
        one_pass(model)
        clear()
        optimizer.step()
        assert torch.equal(true_weights(model[0]), after)


def test_schedulers_act_on_analog_layers_too() -> None:
    model = mixed_model()
    optimizer = AnalogOptimizer(model, lr=0.5, digital_lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.0)
    optimizer.step()
    scheduler.step()
    before, digital = true_weights(model[0]), model[1].weight.detach().clone()
    one_pass(model)
    optimizer.step()
    assert torch.equal(true_weights(model[0]), before)
    assert torch.equal(model[1].weight, digital)


def test_closures_groups_state_and_gradient_clipping_work_as_in_torch() -> None:
    model = mixed_model()
    groups = [{"params": model[0].parameters(), "lr": 0.03}, {"params": model[1].parameters()}]
    optimizer = AnalogOptimizer(groups, lr=0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.03, 0.05]
    first = optimizer.step(lambda: one_pass(model))
    assert one_pass(model) < first
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert torch.isfinite(norm)
    other = AnalogOptimizer(mixed_model(), lr=0.5)
    other.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in other.param_groups] == [0.03, 0.05]


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf])
def test_bad_rates_are_refused(lr: float) -> None:
    with pytest.raises(ConfigError, match="digital_lr"):
        AnalogOptimizer(torch.nn.Linear(1, 1), lr=0.1, digital_lr=lr)
