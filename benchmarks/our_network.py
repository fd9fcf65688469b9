"""The MNIST network of Wu et al. 2025 on our chip, with the settings that `peer_network` has for aihwkit.

It starts from a state of the peer's network, so that both sides do the same work: same weights, scales, inputs and
errors in distribution, and so the same density of updates.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.density import expected_density
from rpudriver.experiment.config import load_config
from rpudriver.experiment.network import build_network, build_optimizer, open_chip
from rpudriver.nn import AnalogLinear

EXAMPLES = Path(__file__).parents[1] / "examples"
LAYERS = (784, 256, 128, 10)
BATCH = 10
FAST_LR = {"tiki-taka": 5e-4, "ttv2": 0.01}  # published; aihwkit scales the former, 0.01, by the rate 0.05
MAX_BL = {"tiki-taka": 31, "ttv2": 5}
COMMON = (
    f"algorithm.n_s={BATCH}",  # one transfer a mini-batch
    "training.lr=0.05",
    'network.bias="digital"',
    "backend.device.dw_min={mean=1e-3, d2d=0.3}",
    "backend.device.c2c=0.3",
    "backend.device.up_down_d2d=0.01",
)

LayerState = Mapping[str, Any]  # weights and fast [n_out, n_in] in chip units; scale, out_scale and bias [n_out]
Note = Callable[[int, torch.Tensor, torch.Tensor], None]


class OurNetwork:
    """Our network and optimizer, trained a mini-batch at a time as `rpudriver train` does.

    Attributes
    ----------
    note : called with the layer's number and the x and d of each update onto A, or None.
    """

    def __init__(self, algorithm: str, state: Sequence[LayerState]) -> None:
        settings = [f"algorithm.fast_lr={FAST_LR[algorithm]}", f"algorithm.max_bl={MAX_BL[algorithm]}"]
        config = load_config(str(EXAMPLES / f"mnist-w25-{algorithm}.toml"), [*COMMON, *settings])
        chip = open_chip(config)
        assert chip is not None
        chip.arm()
        self.model = build_network(config, chip)
        self.optimizer = build_optimizer(config, self.model)
        self.note: Note | None = None
        layers = [module for module in self.model if isinstance(module, AnalogLinear)]
        for number, (layer, entry) in enumerate(zip(layers, state, strict=True)):
            _take_over(layer, entry)
            self._watch(number, layer)
        self._expected = partial(expected_density, lr=FAST_LR[algorithm], dw_min=1e-3, max_bl=MAX_BL[algorithm])

    def train_batch(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Train on a mini-batch."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def density(self, train: Callable[[], object]) -> float:
        """Return the expected coincidences a cross-point and sample of the updates onto A that `train` makes."""
        seen: list[tuple[float, int]] = []

        def note(layer: int, x: torch.Tensor, d: torch.Tensor) -> None:
            cells = len(x) * x.shape[1] * d.shape[1]
            seen.append((cells * self._expected(x, d), cells))

        self.note = note
        train()
        self.note = None
        return sum(pulses for pulses, _ in seen) / sum(cells for _, cells in seen)

    def _watch(self, number: int, layer: AnalogLinear) -> None:
        update = layer.grid.update

        def noted(x: torch.Tensor, d: torch.Tensor, lr: float) -> None:
            if self.note is not None:
                self.note(number, x, d)
            update(x, d, lr)

        layer.grid.update = noted  # type: ignore[method-assign]


def _take_over(layer: AnalogLinear, state: LayerState) -> None:
    """Give a layer the state of a peer's; fixed and learnable scales mean the same on both sides."""
    for tile in layer.grid.tiles:
        layer.grid.backend.write(tile.state.arrays["A"], state["fast"][tile.rows, tile.columns])
    layer.grid.write(state["weights"])
    assert layer.out_scale is not None  # learnable, and a digital bias: see COMMON and the example
    assert layer.bias is not None
    with torch.no_grad():
        layer.scale.copy_(state["scale"])
        layer.out_scale.copy_(state["out_scale"])
        layer.bias.copy_(state["bias"])
