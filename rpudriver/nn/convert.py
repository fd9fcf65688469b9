"""From a digital network to an analog one."""

import copy
from typing import Any

import torch

from rpudriver.algorithms.base import Algorithm
from rpudriver.backends.base import CrossbarBackend
from rpudriver.errors import ConfigError
from rpudriver.nn.linear import AnalogLinear
from rpudriver.nn.tiles import check_room


def convert(
    model: torch.nn.Module, backend: CrossbarBackend, algorithm: Algorithm[Any], *, prefix: str = "", **options: Any
) -> torch.nn.Module:
    """Return a copy of a model in which every `torch.nn.Linear` is an `AnalogLinear` with the same weights.

    The model itself is left alone; what else it holds stays digital.

    Parameters
    ----------
    model : torch.nn.Module
        With float32 weights.
    prefix : str
        Put before the layers' names in the model to name them on the chip; needed where one chip holds several models.
    **options
        Of `AnalogLinear`; ``bias`` concerns the layers that have one and is ``"analog"`` by default.

    Raises
    ------
    ConfigError
        If there is nothing to convert, or a layer cannot be: a subclass of Linear, shared or computed weights,
        hooks, another type.
    BackendError
        What `AnalogLinear` raises.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    if not layers:
        raise ConfigError(f"{type(model).__name__} holds no torch.nn.Linear; build it with AnalogLinear instead")
    _check(model, layers)
    bias = options.get("bias", "analog")
    check_room(backend, algorithm, [_matrix(layer, bias) for layer in layers.values()])
    converted = copy.deepcopy(model)
    for name, layer in layers.items():
        analog = _analog(layer, f"{prefix}{name or 'linear'}", backend, algorithm, dict(options))
        if not name:
            return analog
        for path in _paths(model, layer):
            parent, _, leaf = path.rpartition(".")
            setattr(converted.get_submodule(parent), leaf, analog)
    return converted


def _matrix(layer: torch.nn.Linear, bias: str) -> tuple[int, int]:
    """Return the size of the matrix that a layer puts on the chip; an analog bias is one more column."""
    return layer.out_features, layer.in_features + (layer.bias is not None and bias == "analog")


def _check(model: torch.nn.Module, layers: dict[str, torch.nn.Linear]) -> None:
    """Refuse what cannot be converted, before anything is written."""
    owners: dict[int, set[str]] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False):
        owner = model.get_submodule(path.rpartition(".")[0])
        owners.setdefault(id(parameter), set()).add(str(id(owner)))
    for name, layer in layers.items():
        if type(layer) is not torch.nn.Linear:
            raise ConfigError(
                f"layer {name!r} is a {type(layer).__name__}, not a plain torch.nn.Linear: it may use its weights in "
                "its own way. Convert the other parts of the model one by one"
            )
        if not isinstance(layer.weight, torch.nn.Parameter) or layer._forward_hooks or layer._forward_pre_hooks:
            raise ConfigError(
                f"layer {name!r} has hooks, or weights that are computed (pruning, weight_norm), which would be lost; "
                "remove them before converting and put hooks on the new layer"
            )
        if layer.weight.dtype is not torch.float32:
            raise ConfigError(f"layer {name!r} has {layer.weight.dtype} weights; call model.float() first")
        if len(owners[id(layer.weight)]) > 1:
            raise ConfigError(
                f"layer {name!r} shares its weights with another layer; give it its own before converting"
            )


def _analog(
    layer: torch.nn.Linear, name: str, backend: CrossbarBackend, algorithm: Algorithm[Any], options: dict[str, Any]
) -> AnalogLinear:
    options["bias"] = "none" if layer.bias is None else options.get("bias", "analog")
    if layer.bias is not None and options["bias"] == "none":
        raise ConfigError(f"layer {name!r} has a bias: bias must be 'analog' or 'digital', or build it with bias=False")
    initial = layer.weight, layer.bias
    analog = AnalogLinear(
        layer.in_features, layer.out_features, backend, algorithm, name=name, initial=initial, **options
    )
    analog.handle.requires_grad_(layer.weight.requires_grad)
    return analog.train(layer.training)


def _paths(model: torch.nn.Module, layer: torch.nn.Module) -> list[str]:
    """Return every place of the model in which a layer is used."""
    return [path for path, module in model.named_modules(remove_duplicate=False) if module is layer]
