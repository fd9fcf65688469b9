"""From a config to a chip and a network on it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch

from rpudriver.algorithms.base import Algorithm
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.errors import ConfigError
from rpudriver.experiment.config import Config, Digital
from rpudriver.experiment.data import CLASSES, Data
from rpudriver.nn import AnalogLinear, AnalogOptimizer, check_backward, check_room, default_weights
from rpudriver.nn.tiles import default_zero_shift

ACTIVATIONS: dict[str, type[torch.nn.Module]] = {
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
}


def open_chip(config: Config) -> CrossbarBackend | None:
    """Return the chip of a run, not armed; None where the algorithm is digital.

    Raises
    ------
    ConfigError
        If the backend refuses an option, if there is an option but no chip, or if the algorithm asks for longer trains
        than the chip takes.
    UnsupportedError
        If the chip has no transposed reads and the run no shadow.
    """
    if isinstance(config.algorithm, Digital):
        for key, value in config.backend.options().items():
            raise ConfigError(f"backend.{key} = {value!r}: the algorithm 'digital' uses no chip; leave the key out")
        if config.training.backward == "shadow":
            raise ConfigError("training.backward = 'shadow': the algorithm 'digital' uses no chip; leave the key out")
        return None
    chip = make(config.backend.name, **config.backend.options())
    longest = chip.capabilities.longest_bl
    try:
        if config.algorithm.max_bl > longest:
            raise ConfigError(
                f"algorithm.max_bl = {config.algorithm.max_bl}: the chip takes trains of at most {longest} slots; "
                "lower it"
            )
        check_backward(chip, config.training.backward, config.training.shadow_every)
    except BaseException:
        chip.close()
        raise
    return chip


def check_sizes(config: Config, data: Data) -> None:
    """Raise `ConfigError` where the network's ends do not fit the data."""
    inputs, outputs = config.network.layers[0], config.network.layers[-1]
    if inputs != data.train_x.shape[1] or outputs != CLASSES:
        raise ConfigError(
            f"network.layers = {list(config.network.layers)}: {config.data.name} needs {data.train_x.shape[1]} inputs "
            f"and {CLASSES} outputs"
        )


def build_network(config: Config, chip: CrossbarBackend | None) -> torch.nn.Sequential:
    """Return a fully connected network with fresh weights, on the chip where there is one."""
    sizes = config.network.layers
    if chip is not None and not isinstance(config.algorithm, Digital):
        extra = config.network.bias == "analog"
        check_room(chip, config.algorithm, [(n_out, n_in + extra) for n_in, n_out in pairwise(sizes)])
    modules: list[torch.nn.Module] = []
    for number, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        modules.append(_layer(config, chip, f"fc{number}", n_in, n_out))
        modules.append(ACTIVATIONS[config.network.activation]())
    return torch.nn.Sequential(*modules[:-1])


def _layer(config: Config, chip: CrossbarBackend | None, name: str, n_in: int, n_out: int) -> torch.nn.Module:
    if chip is None or isinstance(config.algorithm, Digital):
        return _digital_layer(name, n_in, n_out, config.network.bias != "none", config.seed)
    return AnalogLinear(
        n_in,
        n_out,
        chip,
        config.algorithm,
        name=name,
        bias=config.network.bias,
        weight_range=config.scaling.weight_range,
        columnwise=config.scaling.columnwise,
        learnable_scale=config.scaling.learnable,
        zero_shift=zero_shift_of(config, config.algorithm),
        backward=config.training.backward,
        shadow_every=config.training.shadow_every,
        seed=config.seed,
    )


def zero_shift_of(config: Config, algorithm: Algorithm[Any]) -> ZeroShift | bool:
    """Return the configured zero shift of a run; False where it has none."""
    section = config.zero_shift
    match section.method:
        case "alternating":
            default = default_zero_shift(algorithm)
            reads = default.reads if section.reads is None else section.reads
            return replace(default, pulses=section.pulses, reads=reads, seed=config.seed)
        case "response":
            return ResponseZeroShift(config.seed, section.pulses, verify=0, precision=section.precision)
        case "none":
            return False


def _digital_layer(name: str, n_in: int, n_out: int, bias: bool, seed: int) -> torch.nn.Linear:
    """Return a layer in floating point that starts from the weights that an analog one of this name would get."""
    layer = torch.nn.Linear(n_in, n_out, bias=bias, device="meta").to_empty(device="cpu")  # draws nothing
    weight, offset = default_weights(name, n_out, n_in, seed)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias:
            layer.bias.copy_(offset)
    return layer


def build_optimizer(config: Config, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer: plain SGD on digital parameters, the algorithm on analog ones."""
    lr = config.training.lr
    digital_lr = lr if config.training.digital_lr is None else config.training.digital_lr
    if isinstance(config.algorithm, Digital):
        return torch.optim.SGD(model.parameters(), lr=digital_lr)
    return AnalogOptimizer(model, lr=lr, digital_lr=digital_lr)


def shadow_cost(model: torch.nn.Module) -> dict[str, int | float] | None:
    """Return what the shadows of all layers have cost; None where there are none."""
    costs = [m.grid.shadow.cost for m in model.modules() if isinstance(m, AnalogLinear) and m.grid.shadow is not None]
    return {key: sum(cost[key] for cost in costs) for key in costs[0]} if costs else None


def linear_layers(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Linear]]:
    """Yield the digital layers and their names, ``fc1`` onwards."""
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return ((f"fc{number}", layer) for number, layer in enumerate(layers, start=1))
