"""One optimizer for analog layers and digital parameters."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from rpudriver.errors import ConfigError
from rpudriver.nn.handle import AnalogHandle


class AnalogOptimizer(torch.optim.Optimizer):
    """Trains analog layers with their algorithm and digital parameters with plain SGD, in one ordinary loop.

    Analog and digital parameters get a parameter group each, so learning-rate schedulers act on both. A step uses up
    what backward passes recorded since the last one; `zero_grad` drops it.

    Parameters
    ----------
    model_or_params : torch.nn.Module, or what other optimizers take
        Parameters or groups of them; a group may have its own ``lr``.
    lr : float
        Learning rate in network units.
    digital_lr : float, optional
        Of the digital parameters; `lr` by default.

    Raises
    ------
    ConfigError
        If a learning rate is negative or not finite.
    """

    def __init__(
        self, model_or_params: torch.nn.Module | Iterable[Any], lr: float, digital_lr: float | None = None
    ) -> None:
        digital_lr = lr if digital_lr is None else digital_lr
        for name, value in (("lr", lr), ("digital_lr", digital_lr)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} = {value!r} must be finite and at least 0")
        given = model_or_params.parameters() if isinstance(model_or_params, torch.nn.Module) else model_or_params
        super().__init__(list(_groups(given, lr, digital_lr)), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Train on what was recorded since the last step.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss once more, as in every torch optimizer; its value is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr = float(group["lr"])
            digital, gradients = [], []
            for parameter in group["params"]:
                if type(parameter) is AnalogHandle:  # isinstance is a call of Python for parameters
                    parameter.layer.update(lr)
                    continue
                gradient = parameter.grad
                if gradient is not None:
                    digital.append(parameter)
                    gradients.append(gradient)
            if digital:
                torch._foreach_add_(digital, gradients, alpha=-lr)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients and drop what analog layers recorded."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
        for group in self.param_groups:
            for parameter in group["params"]:
                if type(parameter) is AnalogHandle:
                    parameter.layer.forget()
                if set_to_none:
                    parameter.grad = None


def _groups(given: Iterable[Any], lr: float, digital_lr: float) -> Iterator[dict[str, Any]]:
    """Yield the parameter groups, each either analog or digital."""
    listed = list(given)
    groups = listed if listed and isinstance(listed[0], dict) else [{"params": listed}]
    for group in groups:
        params = group["params"]
        params = [params] if isinstance(params, torch.Tensor) else list(params)
        analog = [p for p in params if isinstance(p, AnalogHandle)]
        digital = [p for p in params if not isinstance(p, AnalogHandle)]
        for part, rate in ((analog, lr), (digital, digital_lr)):
            if part:
                yield {"lr": rate, **group, "params": part}
