"""The MNIST network of Wu et al. 2025 in aihwkit, with its own Tiki-Taka and TTv2 at the authors' published settings.

Source of the settings: the authors' repository Zhaoxian-Wu/analog-training, ``NeurIPS-2025/S2-mnist-FCN.py``; the
device is the paper's power response (eq. 148) with tau 0.6 and gamma 1. One column is transferred a mini-batch.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from benchmarks.density import expected_density
from benchmarks.our_network import FAST_LR, LAYERS, MAX_BL

LR = 0.05  # of the transfer, and of scales and biases


class PeerNetwork:
    """aihwkit's network and optimizer, trained a mini-batch at a time."""

    def __init__(self, algorithm: str, seed: int = 1, layers: tuple[int, ...] = LAYERS) -> None:
        from aihwkit.nn import AnalogLinear, AnalogSequential

        torch.manual_seed(seed)
        modules: list[torch.nn.Module] = []
        for n_in, n_out in pairwise(layers):
            modules += [AnalogLinear(n_in, n_out, True, rpu_config=_config(algorithm)), torch.nn.Sigmoid()]
        self.model = AnalogSequential(*modules[:-1])
        self.optimizer = _optimizer(self.model)
        self._expected = partial(expected_density, lr=FAST_LR[algorithm], dw_min=1e-3, max_bl=MAX_BL[algorithm])

    def save(self) -> dict[str, Any]:
        """Return the whole state."""
        hidden = [tile.get_hidden_parameters() for tile in self.model.analog_tiles()]
        return {"model": self.model.state_dict(), "hidden": hidden}

    def load(self, state: dict[str, Any]) -> None:
        """Put back what `save` returned.

        aihwkit's own loading sets A to zero, so the hidden state follows it; and it makes new parameters, so the
        optimizer, which remembers nothing, is made anew.
        """
        self.model.load_state_dict(state["model"])
        for tile, hidden in zip(self.model.analog_tiles(), state["hidden"], strict=True):
            tile.set_hidden_parameters(hidden)
        self.optimizer = _optimizer(self.model)

    def train_batch(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Train on a mini-batch."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def accuracy(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Return the accuracy on a test set."""
        self.model.eval()
        with torch.no_grad():
            correct = int((self.model(x).argmax(1) == y).sum())
        self.model.train()
        return correct / len(y)

    def layer_states(self) -> list[dict[str, Any]]:
        """Return each layer's weights of C and A in chip units, scales and bias, as `OurNetwork` takes them."""
        layers = [module for module in self.model if hasattr(module, "analog_module")]
        return [_layer_state(layer) for layer in layers]

    def density(self, train: Callable[[], object]) -> float:
        """Return the expected coincidences a cross-point and sample of the updates onto A that `train` makes."""
        seen: list[tuple[float, int]] = []
        tiles = list(self.model.analog_tiles())
        for tile in tiles:
            tile.update = self._noting(tile, tile.update, seen)
        train()
        for tile in tiles:
            del tile.update  # the method of its class again
        return sum(pulses for pulses, _ in seen) / sum(cells for _, cells in seen)

    def _noting(self, tile: Any, update: Callable[..., None], seen: list[tuple[float, int]]) -> Callable[..., None]:
        def noted(x: torch.Tensor, d: torch.Tensor) -> None:
            cells = len(x) * x.shape[1] * d.shape[1]
            seen.append((cells * self._expected(*tile.pre_update(x, 1, d, 1)), cells))
            update(x, d)

        return noted


def _layer_state(layer: Any) -> dict[str, Any]:
    """Return the state of a layer, whose tiles lie side by side; each has its own scales, their mean becomes ours."""
    tiles = list(layer.analog_tiles())
    hidden = [tile.get_hidden_parameters() for tile in tiles]
    mapping = [_column(tile.get_mapping_scales(), layer.out_features) for tile in tiles]
    learned = [_column(tile.get_learned_out_scales(), layer.out_features) for tile in tiles]
    scale, out_scale = torch.stack(mapping).mean(0), torch.stack(learned).mean(0)
    state = {"scale": scale, "out_scale": out_scale, "bias": layer.analog_module.bias.detach().clone()}
    factors = [m * a / (scale * out_scale) for m, a in zip(mapping, learned, strict=True)]
    for name, device in (("fast", 0), ("weights", 1)):
        parts = [torch.as_tensor(entry[f"hidden_weights_{device}"]).float() for entry in hidden]
        state[name] = torch.cat([part * f[:, None] for part, f in zip(parts, factors, strict=True)], 1)
    return state


def _column(scales: torch.Tensor | None, n_out: int) -> torch.Tensor:
    """Return scales ``[n_out]``; there are none, one, or one for each output."""
    return torch.ones(n_out) if scales is None else scales.detach().flatten().expand(n_out).clone()


def _optimizer(model: Any) -> Any:
    from aihwkit.optim import AnalogSGD

    optimizer = AnalogSGD(model.parameters(), lr=LR)
    optimizer.regroup_param_groups()
    return optimizer


def _config(algorithm: str) -> Any:
    config = _tiki_taka() if algorithm == "tiki-taka" else _ttv2()
    config.mapping.learn_out_scaling = True
    config.mapping.weight_scaling_columnwise = True
    return config


def _pow_step() -> Any:
    from aihwkit.simulator.configs.devices import PowStepDevice

    exact = {"pow_gamma_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0}  # dw_min keeps its 30 % d2d and c2c
    return PowStepDevice(dw_min=1e-3, pow_gamma=1.0, w_max=0.6, w_min=-0.6, **exact)


def _tiki_taka() -> Any:
    from aihwkit.simulator.configs import build_config

    config = build_config("ttv1", device=_pow_step(), construction_seed=123)
    config.device.fast_lr, config.device.n_reads_per_transfer = 0.01, 1
    return config


def _ttv2() -> Any:
    from aihwkit.simulator.configs import build_config

    config = build_config("ttv2", device=_pow_step(), construction_seed=123)
    config.device.units_in_mbatch = True
    config.device.fast_lr, config.device.scale_fast_lr = 0.01, False
    config.device.transfer_lr, config.device.scale_transfer_lr = 1.0, True
    config.device.auto_granularity = 1000
    config.mapping.weight_scaling_omega = 0.3
    return config
