"""Chips and layers for the tests of `rpudriver.nn`."""

from typing import Any

import torch

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.nn import AnalogLinear, AnalogOptimizer
from rpudriver.types import Port

EXACT = {"input_bits": 0, "output_bits": 0, "output_bound": 0}  # no converters, no bound
SMALL_STEP = {"dw_min": 1e-4, "w_max": 0.6, "w_min": -0.6}


def exact_chip(dw_min: float = 1e-4, name: str = "simulated", **chip: Any) -> CrossbarBackend:
    """Return an armed chip without noise, spread and converters."""
    device = SMALL_STEP | {"dw_min": dw_min}
    backend = make(name, preset="idealised", device=device, chip=EXACT | chip)
    backend.arm()
    return backend


def noisy_chip(name: str = "simulated", **options: Any) -> CrossbarBackend:
    """Return an armed chip of the demo's devices, with full read noise."""
    backend = make(name, **{"preset": "asymmetric-100", "seed": 4, **options})
    backend.arm()
    return backend


def true_weights(layer: AnalogLinear) -> torch.Tensor:
    """Return the network's weights ``[out, in (+ 1)]`` from the oracle: the scale times the last role's arrays."""
    grid = layer.grid
    weights = torch.zeros(grid.n_out, grid.n_in)
    for tile in grid.tiles:
        array = tile.state.arrays[grid.algorithm.roles[-1]]
        weights[tile.rows, tile.columns] = oracle(grid.backend).true_weights(array)
    return weights * layer.scale[:, None]


def set_true_weights(layer: AnalogLinear, weights: torch.Tensor) -> None:
    """Put the devices where the network's weights are exactly these."""
    for tile in layer.grid.tiles:
        array = tile.state.arrays[layer.grid.algorithm.roles[-1]]
        wanted = (weights / layer.scale[:, None])[tile.rows, tile.columns]
        oracle(layer.grid.backend).set_true_state(array, Port.DEVICE, wanted)


def sgd_layer(n_in: int, n_out: int, backend: CrossbarBackend, **options: Any) -> AnalogLinear:
    """Return a layer under analog SGD, whose update is the gradient itself."""
    return AnalogLinear(n_in, n_out, backend, AnalogSGD(max_bl=1000), **{"name": "fc", **options})


def train(model: torch.nn.Module, start: int, stop: int) -> list[float]:
    """Train on random batches, each of a seed of its own; return the losses."""
    optimizer = AnalogOptimizer(model, lr=0.1)
    losses = []
    for batch in range(start, stop):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(batch))
        optimizer.zero_grad()
        loss = (model(x) - x[:, :3]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
