"""From the matrices of analog layers to the equal network on digital hardware."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from rpudriver.experiment.config import BackendSection, Config, Digital
from rpudriver.experiment.folder import write_atomically
from rpudriver.experiment.network import build_network
from rpudriver.nn import AnalogLinear

StateDict = dict[str, torch.Tensor]


def analog_layers(model: torch.nn.Module) -> Iterator[tuple[str, AnalogLinear]]:
    """Yield the layers on the chip, by their names in the model; those of a digital copy are the same."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, AnalogLinear))


def digital_network(config: Config, state: StateDict) -> torch.nn.Sequential:
    """Return the network of a config in floating point, with these weights."""
    plain = config.model_copy(update={"algorithm": Digital(), "backend": BackendSection(), "average": None})
    model = build_network(plain, None)
    model.load_state_dict(state)
    return model


def digital_parameters(
    layers: Mapping[str, AnalogLinear], matrices: Mapping[str, torch.Tensor], biases: Mapping[str, torch.Tensor]
) -> StateDict:
    """Return the `state_dict` of plain ``Linear`` layers, float32.

    Parameters
    ----------
    matrices : by layer ``[out, in]``, network units; with an analog bias a column more.
    biases : by layer with a digital bias, ``[out]``.
    """
    state = {}
    for name, layer in layers.items():
        matrix = matrices[name].float()
        state[f"{name}.weight"] = matrix[:, : layer.in_features].contiguous()
        if layer.bias_kind == "analog":
            state[f"{name}.bias"] = matrix[:, -1].contiguous()
        elif name in biases:
            state[f"{name}.bias"] = biases[name].float().clone()
    return state


def save_state_dict(state: StateDict, path: Path) -> None:
    """Write a file that ``torch.load`` and ``load_state_dict`` take, whole or not at all."""
    write_atomically(path, lambda file: torch.save(state, file))
