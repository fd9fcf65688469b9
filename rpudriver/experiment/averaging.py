"""The model average of a training run: which tiles are read when, and the averaged network in the end."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.model_average import Average, RunningAverage
from rpudriver.errors import ConfigError
from rpudriver.experiment.config import AverageSection, Config
from rpudriver.experiment.data import Data
from rpudriver.experiment.datasets import write_dataset
from rpudriver.experiment.digital import (
    StateDict,
    analog_layers,
    digital_network,
    digital_parameters,
    save_state_dict,
)
from rpudriver.experiment.evaluation import evaluate
from rpudriver.nn import AnalogLinear
from rpudriver.nn.tiles import Tile


@final
class ModelAverage:
    """Reads every tile of a network in training, at a budget of reads per update.

    The reads change nothing on a chip but the numbering of its later read noise.
    """

    def __init__(self, config: Config, section: AverageSection, model: torch.nn.Module, chip: CrossbarBackend) -> None:
        self._config, self._section, self._chip = config, section, chip
        self.layers = dict(analog_layers(model))
        self._tiles: dict[str, RunningAverage] = {}
        self._updates, self._cost = 0, 0
        self._bias_sums = {
            name: torch.zeros(layer.out_features, dtype=torch.float64)
            for name, layer in self.layers.items()
            if layer.bias is not None
        }

    @classmethod
    def of(cls, config: Config, model: torch.nn.Module, chip: CrossbarBackend | None, images: int) -> Self | None:
        """Return the average that a config asks for, or None.

        Raises
        ------
        ConfigError
            If there is no chip, or so few reads that the sub-windows hold no whole period of the inputs.
        """
        section = config.average
        if section is None:
            return None
        if chip is None:
            raise ConfigError("average: the algorithm 'digital' uses no chip; leave the section out")
        epochs = config.training.epochs - section.start_epoch
        if epochs < 1:
            raise ConfigError(
                f"average.start_epoch = {section.start_epoch} must be less than training.epochs = "
                f"{config.training.epochs}"
            )
        average = cls(config, section, model, chip)
        average._allot(epochs * math.ceil(images / config.training.batch))
        return average

    def _allot(self, updates: int) -> None:
        """Divide the reads of so many updates into sub-windows."""
        reads = math.floor(updates * self._section.reads + 1e-9)
        for key, tile, layer in self._each():
            shape = tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start
            period = RunningAverage.period(shape[1])
            periods = reads // (period * self._section.windows)
            if periods < 1:
                needed = period * self._section.windows
                raise ConfigError(
                    f"average.reads = {self._section.reads:g} makes {reads} reads of tile {key} in {updates} updates; "
                    f"{self._section.windows} sub-windows of {shape[1]} columns need {needed}: at least "
                    f"average.reads = {needed / updates:.3g}, or average over more epochs"
                )
            self._tiles[key] = RunningAverage(shape, periods, self._config.seed, f"{layer.name}/{key}")

    def _each(self) -> Iterator[tuple[str, Tile[Any], AnalogLinear]]:
        for name, layer in self.layers.items():
            for number, tile in enumerate(layer.grid.tiles):
                yield f"{name}/{number}", tile, layer

    def after_update(self, epoch: int) -> None:
        """Read what is due after an update of an epoch, counted from 0."""
        if epoch < self._section.start_epoch:
            return
        per_update = self._section.reads
        due = math.floor((self._updates + 1) * per_update + 1e-9) - math.floor(self._updates * per_update + 1e-9)
        self._updates += 1
        before = self._chip.status().cost["reads"]
        for key, tile, layer in self._each():
            scale = layer.network_scale
            rows = scale if len(scale) == 1 else scale[tile.rows]
            self._tiles[key].read(self._chip, layer.grid.algorithm.terms(tile.state), due, rows)
        self._cost += int(self._chip.status().cost["reads"] - before)
        for name, total in self._bias_sums.items():
            bias = self.layers[name].bias
            if bias is not None:
                total += bias.detach().cpu()

    def save(self) -> dict[str, Any]:
        """Return all that is known, for a checkpoint."""
        tiles = {key: tile.state for key, tile in self._tiles.items()}
        return {"updates": self._updates, "cost": self._cost, "tiles": tiles, "bias": self._bias_sums}

    def load(self, saved: dict[str, Any]) -> None:
        """Put back what `save` returned."""
        self._updates, self._cost = saved["updates"], saved["cost"]
        self._bias_sums = {name: total.clone() for name, total in saved["bias"].items()}
        for key, tile in self._tiles.items():
            tile.load(saved["tiles"][key])

    def finish(self, out: Path, data: Data) -> dict[str, Any]:
        """Write ``average.pt`` and ``average.h5``, and return the part of the result that tells of them."""
        found = {key: tile.result() for key, tile in self._tiles.items()}
        state = self._network(found, "mean")
        save_state_dict(state, out / "average.pt")
        parts = {part: self._network(found, part) for part in ("mean", "mean_error", "sd", "sd_error")}
        named = {f"{part}/{key}": value for part, values in parts.items() for key, value in values.items()}
        write_dataset(out / "average.h5", named, {"average": self._section.model_dump()}, complete=True)
        loss, accuracy = evaluate(digital_network(self._config, state), data.test_x, data.test_y)
        lost = sum(int(each.mean[:, 0].isnan().sum()) for each in found.values())
        return {
            "test_accuracy": accuracy,
            "test_loss": loss,
            "updates": self._updates,
            "reads": self._cost,
            "windows": {key: each.windows for key, each in found.items()},
            "saturated_outputs": lost,
            "sd": {name: float(values.square().mean().sqrt()) for name, values in parts["sd"].items()},
            "standard_error": {name: float(v.square().mean().sqrt()) for name, v in parts["mean_error"].items()},
        }

    def _network(self, found: dict[str, Average], part: str) -> StateDict:
        """Return one of the tensors of the tiles' averages, put together like a `state_dict`."""
        matrices = {name: torch.zeros(layer.grid.n_out, layer.grid.n_in) for name, layer in self.layers.items()}
        for key, tile, _ in self._each():
            matrices[key.rpartition("/")[0]][tile.rows, tile.columns] = getattr(found[key], part)
        biases = {name: total / self._updates for name, total in self._bias_sums.items()} if part == "mean" else {}
        return digital_parameters(self.layers, matrices, biases)
