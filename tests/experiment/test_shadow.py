"""Runs whose gradients pass through a digital copy of the weights."""

import json
import statistics
from pathlib import Path

import pytest

from rpudriver.experiment.config import load_config
from rpudriver.experiment.extracting import open_run
from rpudriver.experiment.training import train
from tests.experiment.test_training import PER_EPOCH, assert_same_state, small, train_in_pieces, without_times

ONE_WAY = ("backend.chip.transposed_reads=false", "training.backward=shadow")
COPY = 2 * 8  # vectors: twice the power of two that is at least 6 hidden units and a bias


@pytest.mark.parametrize("recipe", ["digits-sgd", "digits-tiki-taka", "digits-ttv2"])
def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path: Path, recipe: str) -> None:
    config = small(recipe, *ONE_WAY, "training.shadow_every=4", "scaling.learnable=true")
    whole = train(config, tmp_path / "whole")
    # one copy old, about to be read, in the middle, between epochs, in the second
    parts = train_in_pieces(config, tmp_path / "parts", [1, 4, 7, PER_EPOCH, PER_EPOCH + 4])
    assert_same_state(whole.model.state_dict(), parts.model.state_dict())
    assert without_times([whole.result | {"curve": None}]) == without_times([parts.result | {"curve": None}])
    assert without_times(whole.result["curve"]) == without_times(parts.result["curve"])
    times = len(range(0, 2 * PER_EPOCH, 4))
    assert (whole.result["shadow"]["extractions"], whole.result["shadow"]["reads"]) == (times, times * COPY)


def test_a_shadow_costs_its_own_reads_and_spares_the_transposed_ones(tmp_path: Path) -> None:
    results = [train(small("digits-ttv2", *more), tmp_path / str(len(more))).result for more in ((), ONE_WAY)]
    assert "shadow" not in results[0]
    shadow, times = results[1]["shadow"], len(range(0, 2 * PER_EPOCH, 10))  # every ten mini-batches by default
    assert set(shadow) == {"extractions", "reads", "chip_time_s", "energy_j"}
    assert (shadow["extractions"], shadow["reads"]) == (times, times * COPY)
    assert results[1]["cost"]["reads"] > shadow["reads"]
    for key in ("chip_time_s", "energy_j"):
        assert 0 < shadow[key] < results[1]["cost"][key]
    assert json.loads((tmp_path / str(len(ONE_WAY)) / "result.json").read_text())["shadow"] == shadow


def test_a_run_with_a_shadow_can_be_put_back_on_its_chip(tmp_path: Path) -> None:
    run = train(small("digits-ttv2", *ONE_WAY), tmp_path / "run")
    again = open_run(tmp_path / "run", tmp_path / "journal")
    with again.chip:
        assert_same_state(run.model.state_dict(), again.model.state_dict())


def accuracies(recipe: str, seeds: range, folder: Path, *overrides: str) -> list[float]:
    """Return test accuracies in %, of another network on another chip for each seed."""
    found = []
    for seed in seeds:
        config = load_config(recipe, [f"seed={seed}", f"backend.seed={seed}", *overrides])
        found.append(100 * train(config, folder / f"{len(list(folder.iterdir()))}").result["test_accuracy"])
    return found


def assert_within_the_spread(first: list[float], second: list[float]) -> None:
    """Means of n runs differ by chance by ``sd * sqrt(2 / n)``; three times that, and an image for rounding."""
    spread = max(statistics.stdev(first), statistics.stdev(second))
    difference = statistics.mean(first) - statistics.mean(second)
    assert abs(difference) < 3 * spread * (2 / len(first)) ** 0.5 + 0.3, (first, second)


def test_a_shadow_learns_like_transposed_reads_in_a_short_run(tmp_path: Path) -> None:
    short, seeds = ("training.epochs=6",), range(1, 4)
    transposed = accuracies("digits-ttv2", seeds, tmp_path, *short)
    shadow = accuracies("digits-ttv2", seeds, tmp_path, *short, *ONE_WAY)
    assert min(transposed) > 80  # chance is 10
    assert_within_the_spread(transposed, shadow)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["digits-tiki-taka", "digits-ttv2"])
def test_accuracy_with_a_copy_of_any_age_is_within_the_spread_of_seeds(tmp_path: Path, recipe: str) -> None:
    seeds = range(1, 5)
    transposed = accuracies(recipe, seeds, tmp_path)
    assert min(transposed) > 94
    for every in (1, 10, 100):
        shadow = accuracies(recipe, seeds, tmp_path, *ONE_WAY, f"training.shadow_every={every}")
        assert_within_the_spread(transposed, shadow)
