"""The MNIST network of Wu et al. 2025 in aihwkit, with its own Tiki-Taka and TTv2 at the authors' published settings.

Source of the settings: the authors' repository Zhaoxian-Wu/analog-training, ``NeurIPS-2025/S2-mnist-FCN.py``; the
device is the paper's power response (eq. 148) with tau 0.6 and gamma 1. One column is transferred a mini-batch.
"""

from itertools import pairwise
from typing import Any

import torch

from benchmarks.density import expected_density

LR = 0.05  # transfer
MAX_BL = {"tiki-taka": 31, "ttv2": 5}


class PeerNetwork:
    """aihwkit's network and optimizer, trained a mini-batch at a time.

    Attributes
    ----------
    densities : list of (coincidences, cross-points) of the updates onto A, one a layer and mini-batch, while `watch`.
    """

    def __init__(self, algorithm: str, layers: tuple[int, ...], seed: int) -> None:
        from aihwkit.nn import AnalogLinear, AnalogSequential
        from aihwkit.optim import AnalogSGD

        torch.manual_seed(seed)
        modules: list[torch.nn.Module] = []
        for n_in, n_out in pairwise(layers):
            modules += [AnalogLinear(n_in, n_out, True, rpu_config=_config(algorithm)), torch.nn.Sigmoid()]
        self.model = AnalogSequential(*modules[:-1])
        self.optimizer = AnalogSGD(self.model.parameters(), lr=LR)
        self.optimizer.regroup_param_groups()
        self.watch = False
        self.densities: list[tuple[float, int]] = []
        fast_lr = 0.01 * LR if algorithm == "tiki-taka" else 0.01  # only the latter is not scaled by the rate
        for tile in self.model.analog_tiles():
            _watch(self, tile, fast_lr, MAX_BL[algorithm])

    def train_batch(self, x: torch.Tensor, y: torch.Tensor) -> bool:
        """Train on a mini-batch; return nothing that costs time to make."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return True

    def test(self, x: torch.Tensor, y: torch.Tensor) -> float:
        """Return the accuracy."""
        self.model.eval()
        with torch.no_grad():
            correct = int((self.model(x).argmax(1) == y).sum())
        self.model.train()
        return correct / len(y)

    def density(self) -> float:
        """Return the coincidences a cross-point and sample since `watch` was set."""
        return sum(c for c, _ in self.densities) / sum(n for _, n in self.densities)


def _watch(network: PeerNetwork, tile: Any, lr: float, max_bl: int) -> None:
    """Make a tile note the expected density of its updates while the network is watched."""
    update = tile.update

    def noted(x: torch.Tensor, d: torch.Tensor) -> None:
        if network.watch:
            cells = x.shape[1] * d.shape[1] * len(x)
            density = expected_density(x, d, lr=lr, dw_min=1e-3, max_bl=max_bl)
            network.densities.append((density * cells, cells))
        update(x, d)

    tile.update = noted


def _config(algorithm: str) -> Any:
    config = _tiki_taka() if algorithm == "tiki-taka" else _ttv2()
    config.mapping.learn_out_scaling = True
    config.mapping.weight_scaling_columnwise = True
    return config


def _pow_step() -> Any:
    from aihwkit.simulator.configs.devices import PowStepDevice

    return PowStepDevice(
        dw_min=1e-3, pow_gamma=1.0, pow_gamma_dtod=0, w_max=0.6, w_min=-0.6, w_max_dtod=0, w_min_dtod=0
    )


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
