"""The model average as part of a training run."""

import json

import pytest
import torch

from rpudriver.errors import ConfigError
from rpudriver.experiment.checkpoints import load_checkpoint, newest_checkpoint
from rpudriver.experiment.config import load_config
from rpudriver.experiment.data import load_data
from rpudriver.experiment.datasets import read_dataset
from rpudriver.experiment.digital import digital_network
from rpudriver.experiment.evaluation import evaluate
from rpudriver.experiment.training import train
from tests.experiment.test_training import PER_EPOCH, small, train_in_pieces

WITH = ["average.reads=100", "average.windows=10"]  # 64 lines and the bias: periods of 256


def averaged(*overrides, recipe="digits-ttv2"):
    return small(recipe, "training.epochs=3", "average.start_epoch=1", *WITH, *overrides)


def test_an_average_is_written_tested_and_metered(tmp_path):
    config = averaged()
    result = train(config, tmp_path / "run").result
    found = result["average"]
    assert found["updates"] == 2 * PER_EPOCH
    assert min(found["windows"].values()) >= 10
    reads = 2 * PER_EPOCH * 100
    assert 2 * reads < found["reads"] < 2 * reads + 200  # two tiles; pilots and what saturated besides
    without = train(small("digits-ttv2", "training.epochs=3"), tmp_path / "without").result
    # a saturated vector of training is read again, by chance more or less often
    assert abs(result["cost"]["reads"] - without["cost"]["reads"] - found["reads"]) < 50
    state = torch.load(tmp_path / "run/average.pt", weights_only=True)
    assert {key: list(value.shape) for key, value in state.items()} == {
        "0.weight": [6, 64],
        "0.bias": [6],
        "2.weight": [10, 6],
        "2.bias": [10],
    }
    data = load_data(config.data)
    loss, accuracy = evaluate(digital_network(config, state), data.test_x, data.test_y)
    assert (loss, accuracy) == (found["test_loss"], found["test_accuracy"])
    assert json.loads((tmp_path / "run/result.json").read_text())["average"] == found
    kept, _ = read_dataset(tmp_path / "run/average.h5")
    assert torch.equal(kept["mean/0.weight"], state["0.weight"])
    assert float(kept["sd/0.weight"].max()) > 2 * float(kept["sd_error/0.weight"].median())  # it trains: weights move


def test_the_average_is_that_of_the_weights_themselves(tmp_path):
    """At a learning rate of zero the weights rest where they were written, and their average is known."""
    run = train(averaged("training.lr=1e-12", "algorithm.fast_lr=1e-12", recipe="digits-ttv2"), tmp_path / "run")
    kept, _ = read_dataset(tmp_path / "run/average.h5")
    for number, key in ((0, "0"), (2, "2")):
        layer = run.model[number]
        (tile,) = layer.grid.tiles
        truth = run.chip._oracle().true_weights(tile.state.arrays["C"]) * layer.scale[:, None]
        z = (kept[f"mean/{key}.weight"] - truth[:, :-1]) / kept[f"mean_error/{key}.weight"]
        # 384 and 60 weights: a mean square of 1 is good to 0.18 at worst; four of these
        assert abs(float(z.square().mean()) - 1) < 0.75


@pytest.mark.parametrize("recipe", ["digits-ttv2", "digits-tiki-taka"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, recipe):
    config = averaged(recipe=recipe)
    whole = train(config, tmp_path / "whole").result
    train_in_pieces(config, tmp_path / "pieces", [PER_EPOCH + 3, 2 * PER_EPOCH, 2 * PER_EPOCH + 7])
    resumed = train(config, tmp_path / "pieces", resume=True).result
    assert resumed["average"] == whole["average"]
    for name in ("average.pt",):
        one, other = (torch.load(tmp_path / folder / name, weights_only=True) for folder in ("whole", "pieces"))
        assert all(torch.equal(one[key], other[key]) for key in one)
    ends = [
        load_checkpoint(newest_checkpoint(tmp_path / folder / "checkpoints"), {})["average"]
        for folder in ("whole", "pieces")
    ]
    assert all(torch.equal(ends[0]["tiles"]["0/0"][key], ends[1]["tiles"]["0/0"][key]) for key in ("mean", "square"))


def test_the_reads_move_nothing(tmp_path):
    """On a chip without read noise, training with and without them is the same."""
    quiet = ["backend.read.output_noise=0", "training.epochs=2"]
    plain = train(small("digits-ttv2", *quiet), tmp_path / "plain").result
    read = train(averaged(*quiet, "average.start_epoch=0"), tmp_path / "read").result
    assert [each["train_loss"] for each in read["curve"]] == [each["train_loss"] for each in plain["curve"]]
    assert read["cost"]["coincidences"] == plain["cost"]["coincidences"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["average.reads=1"], r"10 sub-windows of 65 columns need 2560: at least average.reads = 85.3"),
        (["average.start_epoch=3"], "must be less than training.epochs = 3"),
        (["average.windows=9"], "average.windows"),
        (["average.reads=0"], "average.reads"),
        (["average.read=1"], "average.read"),
    ],
)
def test_what_cannot_be_averaged_is_refused_and_leaves_no_folder(tmp_path, overrides, words):
    with pytest.raises(ConfigError, match=words):
        train(averaged(*overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_digital_run_has_nothing_to_average(tmp_path):
    with pytest.raises(ConfigError, match="leave the section out"):
        train(small("digits-digital", *WITH), tmp_path / "run")


def test_learnable_scales_and_digital_biases_are_averaged_too(tmp_path):
    config = averaged("scaling.learnable=true", "scaling.columnwise=true", "network.bias=digital")
    run = train(config, tmp_path / "run")
    state = torch.load(tmp_path / "run/average.pt", weights_only=True)
    bias = run.model[2].bias.detach()
    assert float((state["2.bias"] - bias).abs().max()) < 0.5 * float(bias.abs().max())
    assert not torch.equal(state["2.bias"], bias)
    assert run.result["average"]["test_accuracy"] > run.result["test_accuracy"] - 0.1


def test_no_section_means_no_average():
    assert load_config("digits-ttv2").average is None
    assert "average" not in load_config("digits-ttv2").to_toml()
