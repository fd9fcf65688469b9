"""A trained run's network, taken out of its chip by reads alone: `rpudriver calibrate extract --run`."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.amplitude import Terms
from rpudriver.calibration.extraction import Extract
from rpudriver.calibration.findings import Finding
from rpudriver.config.toml import dump_toml
from rpudriver.errors import CalibrationError, CheckpointError, ConfigError, DataError
from rpudriver.experiment.checkpoints import load_checkpoint, newest_checkpoint
from rpudriver.experiment.config import Config, load_config
from rpudriver.experiment.data import Data, load_data
from rpudriver.experiment.datasets import read_dataset
from rpudriver.experiment.digital import (
    StateDict,
    analog_layers,
    digital_network,
    digital_parameters,
    save_state_dict,
)
from rpudriver.experiment.evaluation import evaluate
from rpudriver.experiment.folder import RunFolder, write_json
from rpudriver.experiment.measurement import MeasurementFolder, Report, Stop
from rpudriver.experiment.network import build_network, open_chip
from rpudriver.nn import AnalogLinear


@final
@dataclass(frozen=True)
class TrainedRun:
    """A run that has been put back on its chip. Close the chip afterwards."""

    config: Config
    model: torch.nn.Module
    chip: CrossbarBackend
    checkpoint: str


def open_run(path: Path, journal: Path) -> TrainedRun:
    """Build chip and network of a run's folder from its config and newest checkpoint.

    A real chip still holds the network: what the run did to it is not done again but read from the run's journal, of
    which a copy goes on here.

    Parameters
    ----------
    journal : where a real chip keeps that copy.

    Raises
    ------
    ConfigError, CheckpointError
        If there is no run on a chip, or no checkpoint of it.
    """
    config = load_config(str(path / "config.toml"))
    newest = newest_checkpoint(path / "checkpoints")
    if newest is None:
        raise CheckpointError(f"{path} holds no checkpoint; give the folder of a run of `rpudriver train`")
    chip = open_chip(config)
    if chip is None:
        raise ConfigError(
            f"the run in {path} was digital: there is nothing to extract, its weights are numbers already"
        )
    try:
        _take_up(chip, path, journal)
        chip.arm()
        model = build_network(config, chip)
        digest = hashlib.sha256(config.to_toml().encode()).hexdigest()[:12]
        model.load_state_dict(load_checkpoint(newest, {"config": digest})["model"])
    except BaseException:
        chip.close()
        raise
    return TrainedRun(config, model, chip, newest.name)


def _take_up(chip: CrossbarBackend, run: Path, journal: Path) -> None:
    """Have a real chip go on where a run left it; without the run's journal it would be programmed anew."""
    if chip.restores_devices:
        return
    of_run = RunFolder(run).journal
    if not journal.exists():
        if not of_run.is_file():
            raise CheckpointError(f"{run} holds no {of_run.name}: what the run did to its chip is lost; train anew")
        journal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of_run, journal)
    chip.keep_journal(journal, resume=True)


@dataclass
class _Part:
    """A matrix to be extracted: a tile's sum, or one array of it where the chip cannot sum."""

    key: str
    layer: str
    rows: slice
    columns: slice
    terms: Terms
    factor: float


def _parts(run: TrainedRun) -> Iterator[_Part]:
    for name, layer in analog_layers(run.model):
        for number, tile in enumerate(layer.grid.tiles):
            terms: Terms = tuple(layer.grid.algorithm.terms(tile.state))
            key = f"{layer.name}-{number}"
            if len(terms) == 1 or run.chip.capabilities.summed_reads:
                yield _Part(key, name, tile.rows, tile.columns, terms, 1.0)
                continue
            for array, weight in terms:
                role = array.name.rpartition("/")[2]
                yield _Part(f"{key}-{role}", name, tile.rows, tile.columns, ((array, 1.0),), weight)


def extract_run(
    run: TrainedRun,
    settings: dict[str, Any],
    out: Path,
    *,
    resume: bool,
    data_folder: Path | None,
    report: Callable[[str], Report],
    stop: Stop,
) -> dict[str, Any]:
    """Extract every layer's matrix and write the equal digital network.

    Parameters
    ----------
    settings : of `Extract`, the same for all tiles.
    out : gets ``model.pt`` (a plain `state_dict`), ``model-error.pt`` (standard errors under the same names),
        ``result.json``, and a folder for each tile.
    report : called with the name of each tile, returns what is called after each portion.

    Raises
    ------
    Interrupted
        If `stop` said so; resume with the same arguments.
    CalibrationError
        If an output is not determined, so that there is no network.
    """
    folder = RunFolder(out)
    folder.begin(_config_text(run, settings), resume)
    data, why = _test_data(run.config, data_folder)
    analog = None if data is None else evaluate(run.model, data.test_x, data.test_y)  # before: reads are numbered
    layers = dict(analog_layers(run.model))
    weights = {
        name: torch.zeros(layer.grid.n_out, layer.grid.n_in, dtype=torch.float64) for name, layer in layers.items()
    }
    variances = {name: torch.zeros_like(matrix) for name, matrix in weights.items()}
    tiles = {}
    for part in _parts(run):
        found, tiles[part.key] = _extract_part(run, part, settings, out / part.key, resume, report(part.key), stop)
        where = part.rows, part.columns
        scale = layers[part.layer].network_scale.double()
        factor = part.factor * (scale if len(scale) == 1 else scale[part.rows])[:, None]
        weights[part.layer][where] += factor * found[0].double()
        variances[part.layer][where] += (factor * found[1].double()).square()
    _require_determined(weights, tiles)
    state = _state(layers, weights)
    save_state_dict(state, out / "model.pt")
    errors = digital_parameters(layers, {name: v.sqrt() for name, v in variances.items()}, {})
    save_state_dict(errors, out / "model-error.pt")
    result = {
        "checkpoint": run.checkpoint,
        "settings": settings,
        "reads": sum(tile["cost"]["reads"] for tile in tiles.values()),
        "standard_error": {name: float(error.square().mean().sqrt()) for name, error in errors.items()},
        "test": why if data is None or analog is None else _compare(run.config, state, data, analog),
        "tiles": tiles,
    }
    write_json(folder.result, result)
    return result


def _config_text(run: TrainedRun, settings: dict[str, Any]) -> str:
    given = {key: value for key, value in settings.items() if value is not None}
    return (
        dump_toml({"procedure": "extract-run", "checkpoint": run.checkpoint, "settings": given}) + run.config.to_toml()
    )


def _test_data(config: Config, folder: Path | None) -> tuple[Data | None, str]:
    try:
        return load_data(config.data, folder), ""
    except DataError as error:
        return None, f"not tested: {error}"


def _extract_part(
    run: TrainedRun, part: _Part, settings: dict[str, Any], out: Path, resume: bool, report: Report, stop: Stop
) -> tuple[tuple[torch.Tensor, torch.Tensor], dict[str, Any]]:
    """Return weights and standard errors of a part, chip units, and what its result file holds."""
    if resume and (out / "result.json").exists():  # done before the interruption
        data, _ = read_dataset(out / "dataset.h5")
        result: dict[str, Any] = json.loads((out / "result.json").read_text())
        return (data["extracted/weights"], data["extracted/error"]), result
    procedure = Extract(**settings)
    text = dump_toml({"part": part.key, "settings": {k: v for k, v in settings.items() if v is not None}})
    journal = MeasurementFolder(out, text, resume and (out / "config.toml").exists(), report, stop)
    procedure.fit_sum(run.chip, part.terms, journal)
    result = journal.finish(procedure)
    return (procedure.weights_, procedure.error_), result


def _require_determined(weights: dict[str, torch.Tensor], tiles: dict[str, Any]) -> None:
    for name, matrix in weights.items():
        lost = matrix.isnan().any(1).nonzero()[:, 0].tolist()
        if lost:
            raise CalibrationError(
                f"layer {name}: outputs {lost[:6]} (of {len(lost)}) are not determined, so there is no network; the "
                "result.json of its tiles names the findings"
            )


def _state(layers: dict[str, AnalogLinear], weights: dict[str, torch.Tensor]) -> StateDict:
    biases = {name: layer.bias.detach().cpu() for name, layer in layers.items() if layer.bias is not None}
    return digital_parameters(layers, weights, biases)


def _compare(config: Config, state: StateDict, data: Data, analog: tuple[float, float]) -> dict[str, Any]:
    digital = evaluate(digital_network(config, state), data.test_x, data.test_y)
    return {
        "images": len(data.test_y),
        "analog": {"test_loss": analog[0], "test_accuracy": analog[1]},
        "extracted": {"test_loss": digital[0], "test_accuracy": digital[1]},
    }


def findings_of(result: dict[str, Any]) -> Iterator[tuple[str, Finding]]:
    """Yield the findings of a result, with the names of their tiles."""
    for key, tile in result["tiles"].items():
        for found in tile["findings"]:
            yield key, Finding(found["kind"], found["message"], tuple(tuple(place) for place in found["places"]))
