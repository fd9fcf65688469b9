"""Histograms of the weights after training, straight from the devices: only a simulated chip can show them."""

from collections.abc import Mapping
from pathlib import Path

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.experiment.network import linear_layers
from rpudriver.plots.style import COLOURS, canvas, save

BINS = 60


def trained_weights(model: torch.nn.Module, chip: CrossbarBackend | None) -> dict[str, dict[str, torch.Tensor]]:
    """Return flat weights by layer and, within a layer, by role (``A``, ``C``; ``weights`` of a digital layer).

    Raises
    ------
    UnsupportedError
        If the chip does not know its true weights.
    """
    if chip is None:
        return {name: {"weights": layer.weight.detach().flatten()} for name, layer in linear_layers(model)}
    view = oracle(chip)
    parts: dict[str, dict[str, list[torch.Tensor]]] = {}
    for array in chip.status().arrays:
        tile, _, role = array.name.rpartition("/")
        layer = parts.setdefault(tile.split("/")[0], {})
        layer.setdefault(role, []).append(view.true_weights(array).flatten().cpu())
    return {layer: {role: torch.cat(part) for role, part in roles.items()} for layer, roles in parts.items()}


def plot_weights(weights: Mapping[str, Mapping[str, torch.Tensor]], path: Path) -> None:
    """Draw a histogram for each layer, its arrays over one another.

    Parameters
    ----------
    weights : flat tensors by layer and role, as `trained_weights` returns them.
    """
    figure, axes = canvas(columns=len(weights))
    for ax, (layer, roles) in zip(axes, weights.items(), strict=True):
        low = min(float(values.min()) for values in roles.values())
        high = max(float(values.max()) for values in roles.values())
        margin = 0.5 if low == high else 0.0
        for colour, (role, values) in zip(COLOURS, roles.items(), strict=False):
            counts, edges = torch.histogram(values.to(torch.float32), BINS, range=(low - margin, high + margin))
            ax.stairs(counts.numpy(), edges.numpy(), fill=True, color=colour, alpha=0.55, label=role)
        unit = "" if "weights" in roles else " (chip units)"
        ax.set(title=layer, xlabel=f"weight{unit}", ylabel="devices" if unit else "weights")
        ax.legend(frameon=False)
    save(figure, path)
