"""A trained run's network, extracted."""

import json
import shutil

import pytest
import torch

from rpudriver.calibration.procedure import Progress
from rpudriver.errors import CheckpointError, ConfigError
from rpudriver.experiment.data import load_data
from rpudriver.experiment.digital import digital_network
from rpudriver.experiment.evaluation import evaluate
from rpudriver.experiment.extracting import extract_run, open_run
from rpudriver.experiment.interruption import Interrupted
from rpudriver.experiment.training import train
from tests.experiment.test_training import small

SETTINGS = {"seed": 0, "target": 0.004}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for recipe, *overrides in (
        ("digits-ttv2",),
        ("digits-tiki-taka", "algorithm.gamma=0.5", "backend.chip={rows = 8, columns = 40, summed_reads = false}"),
        ("digits-sgd", "scaling.learnable=true", "scaling.columnwise=true", "network.bias=digital"),
    ):
        train(small(recipe, *overrides), folder / recipe)
    return folder


def silent(name):
    return lambda progress: None


def extracted(run, out, resume=False, stop=lambda: None):
    trained = open_run(run, out / "chip.journal")
    with trained.chip:
        result = extract_run(
            trained,
            SETTINGS,
            out,
            resume=resume,
            data_folder=None,
            report=lambda name: lambda progress: None,
            stop=stop,
        )
    return trained, result


def truth(trained, number):
    """Return the true matrix of a layer in network units, from the oracle."""
    layer = trained.model[number]
    matrix = torch.zeros(layer.grid.n_out, layer.grid.n_in)
    for tile in layer.grid.tiles:
        for array, weight in layer.grid.algorithm.terms(tile.state):
            matrix[tile.rows, tile.columns] += weight * trained.chip._oracle().true_weights(array)
    return matrix * layer.network_scale[:, None]


@pytest.mark.parametrize("recipe", ["digits-ttv2", "digits-tiki-taka", "digits-sgd"])
def test_the_state_dict_is_that_of_the_true_weights_within_its_errors(runs, tmp_path, recipe):
    trained, result = extracted(runs / recipe, tmp_path / "net")
    state, error = (torch.load(tmp_path / "net" / name, weights_only=True) for name in ("model.pt", "model-error.pt"))
    for number in (0, 2):
        weights, n_in = truth(trained, number), trained.model[number].in_features
        z = (state[f"{number}.weight"] - weights[:, :n_in]) / error[f"{number}.weight"]
        # 384 and 60 weights: a mean square of 1 is good to 0.18 at worst; four of these
        assert abs(float(z.square().mean()) - 1) < 0.75
        if trained.config.network.bias == "analog":
            off = (state[f"{number}.bias"] - weights[:, -1]) / error[f"{number}.bias"]
            assert float(off.abs().max()) < 5
        else:
            assert torch.equal(state[f"{number}.bias"], trained.model[number].bias.detach())
    data = load_data(trained.config.data)
    loss, accuracy = evaluate(digital_network(trained.config, state), data.test_x, data.test_y)
    assert result["test"]["extracted"] == {"test_loss": loss, "test_accuracy": accuracy}
    assert abs(accuracy - result["test"]["analog"]["test_accuracy"]) < 0.08
    assert json.loads((tmp_path / "net/result.json").read_text()) == result


def test_arrays_that_cannot_be_summed_are_read_one_by_one(runs, tmp_path):
    _, result = extracted(runs / "digits-tiki-taka", tmp_path / "net")
    assert set(result["tiles"]) >= {"fc1-0-A", "fc1-0-C", "fc1-1-A"}  # two tiles wide
    assert result["reads"] == sum(tile["cost"]["reads"] for tile in result["tiles"].values())


def test_an_interrupted_extraction_goes_on_bit_for_bit(runs, tmp_path):
    _, whole = extracted(runs / "digits-ttv2", tmp_path / "whole")
    asked = iter([None] + [2] * 100)
    with pytest.raises(Interrupted):
        extracted(runs / "digits-ttv2", tmp_path / "pieces", stop=lambda: next(asked))
    assert not (tmp_path / "pieces/model.pt").exists()
    asked = iter([None] * 3 + [2] * 100)
    with pytest.raises(Interrupted):
        extracted(runs / "digits-ttv2", tmp_path / "pieces", resume=True, stop=lambda: next(asked))
    _, resumed = extracted(runs / "digits-ttv2", tmp_path / "pieces", resume=True)
    assert resumed["test"] == whole["test"]
    one, other = (torch.load(tmp_path / folder / "model.pt", weights_only=True) for folder in ("whole", "pieces"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_without_the_data_it_is_extracted_and_says_what_was_not_tested(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "digits-ttv2", run)
    config = (run / "config.toml").read_text().replace('name = "digits"', 'name = "mnist"')
    (run / "config.toml").write_text(config)
    with pytest.raises(CheckpointError, match="another config"):  # it is another run then
        open_run(run, tmp_path / "j")
    trained = open_run(runs / "digits-ttv2", tmp_path / "j")
    with trained.chip:
        elsewhere = trained.config.model_copy(update={"data": trained.config.data.model_copy(update={"name": "mnist"})})
        changed = type(trained)(elsewhere, trained.model, trained.chip, trained.checkpoint)
        nowhere = tmp_path / "nowhere"
        result = extract_run(
            changed, SETTINGS, tmp_path / "net", resume=False, data_folder=nowhere,
            report=silent, stop=lambda: None,
        )  # fmt: skip
    assert result["test"].startswith("not tested: ")
    assert str(nowhere) in result["test"]
    assert (tmp_path / "net/model.pt").exists()


def test_what_is_no_run_on_a_chip_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        open_run(tmp_path / "nothing", tmp_path / "j")
    train(small("digits-digital"), tmp_path / "digital")
    with pytest.raises(ConfigError, match="nothing to extract"):
        open_run(tmp_path / "digital", tmp_path / "j")
    for file in (tmp_path / "digital/checkpoints").iterdir():
        file.unlink()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_run(tmp_path / "digital", tmp_path / "j")


def test_progress_is_told_tile_by_tile(runs, tmp_path):
    trained, seen = open_run(runs / "digits-ttv2", tmp_path / "j"), {}

    def report(name):
        def note(progress: Progress):
            seen[name] = progress.done / progress.total

        return note

    with trained.chip:
        extract_run(trained, SETTINGS, tmp_path / "n", resume=False, data_folder=None, report=report, stop=lambda: None)
    assert seen == {"fc1-0": 1.0, "fc2-0": 1.0}
