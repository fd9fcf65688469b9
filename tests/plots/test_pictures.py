import json

import matplotlib.image
import numpy as np
import pytest
import torch

from rpudriver.backends.registry import make
from rpudriver.errors import OutputError, UnsupportedError
from rpudriver.experiment.config import load_config
from rpudriver.experiment.training import train
from rpudriver.plots.curves import plot_comparison, plot_learning_curve
from rpudriver.plots.pulse_response import _mean_steps, measure_response, plot_response
from rpudriver.plots.weights import plot_weights, trained_weights

EXACT = {"dw_min": 0.01, "w_max": 0.6, "w_min": -0.6}  # no spread; idealised: no noise


def assert_picture(path, colours=20):
    """Check that a PNG holds more than an empty frame: many colours, and ink on more than 0.5 % of it."""
    pixels = matplotlib.image.imread(path)[..., :3]
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 300
    assert len(np.unique((pixels * 255).astype(np.uint8).reshape(-1, 3), axis=0)) > colours
    assert (pixels.min(2) < 0.9).mean() > 0.005


def result(algorithm, accuracies):
    curve = [
        {"epoch": n + 1, "train_loss": 1 / (n + 1), "test_loss": 1.2 / (n + 1), "train_accuracy": a, "test_accuracy": a}
        for n, a in enumerate(accuracies)
    ]
    return {"algorithm": algorithm, "test_accuracy": accuracies[-1], "curve": curve}


def measured(devices=40, **options):
    chip = make("simulated", preset="idealised", **options)
    chip.arm()
    return measure_response(chip, devices)


def test_a_learning_curve_is_drawn(tmp_path):
    plot_learning_curve(result("ttv2", [0.5, 0.8, 0.9]), tmp_path / "new folder" / "curve.png")
    assert_picture(tmp_path / "new folder" / "curve.png")


def test_a_comparison_is_drawn(tmp_path):
    results = {f"run {n}": result("ttv2", [0.1 * n, 0.2 * n]) for n in range(1, 5)}
    plot_comparison(results, tmp_path / "comparison.png", "title")
    assert_picture(tmp_path / "comparison.png")


def test_an_unwritable_picture_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write the picture"):
        plot_learning_curve(result("ttv2", [0.5]), tmp_path / "file" / "curve.png")
    with pytest.raises(OutputError, match="cannot write the picture"):
        plot_learning_curve(result("ttv2", [0.5]), tmp_path / "curve.nonsense")


def test_constant_steps_make_a_straight_staircase_without_symmetry_point():
    response = measured(device=EXACT | {"response": {"family": "constant"}})
    expected = np.clip(-0.6 + 0.01 * response.pulses, -0.6, 0.6)  # one pulse, one step, from the lower bound
    np.testing.assert_allclose(response.up, expected[:, None] + np.zeros(40), atol=1e-4)
    np.testing.assert_allclose(response.down, -response.up, atol=1e-4)
    assert not response.has_symmetry_point()


@pytest.mark.parametrize("up_down", [-0.3, 0.0, 0.2])
def test_soft_bounds_rest_at_their_symmetry_point(up_down):
    """(1 + u)(1 - w / b) = (1 - u)(1 + w / b) at w = u b; a pulse moves the device by about dw_min around it."""
    response = measured(device=EXACT | {"response": {"family": "soft-bounds"}, "up_down": up_down})
    assert response.has_symmetry_point()
    np.testing.assert_allclose(response.resting, up_down * 0.6, atol=0.01)
    summary = json.loads(json.dumps(response.summary()))
    assert abs(summary["resting_point"]["median"] - up_down * 0.6) < 0.01
    assert summary["devices"] == 40
    assert len(summary["up"]["mean"]) == len(summary["pulses"]) == len(summary["down"]["sd"])


def test_the_step_cut_short_by_the_bound_is_not_shown_as_a_smaller_one():
    response = measured(device=EXACT | {"dw_min": 0.011})
    pulses = int(response.pulses[1])
    assert pulses == 3
    sizes = np.abs(np.diff(response.hidden_up, axis=0))
    assert ((sizes > 0.001) & (sizes < 0.03)).any()  # 1.2 is no multiple of 0.033: there is such a step
    mean = _mean_steps(response.hidden_up, np.linspace(-0.6, 0.6, 21), pulses)
    np.testing.assert_allclose(mean[np.isfinite(mean)], 0.011 * pulses, rtol=1e-5)  # float32 states


def test_a_pulse_response_is_drawn(tmp_path):
    chip = make("simulated", preset="reram-array", seed=1)
    chip.arm()
    plot_response(measure_response(chip, 60), "reram-array", tmp_path / "response.png")
    assert_picture(tmp_path / "response.png")


def test_a_chip_without_an_oracle_has_no_pulse_response():
    chip = make("null")
    chip.arm()
    with pytest.raises(UnsupportedError, match="does not know its true weights"):
        measure_response(chip, 4)


@pytest.mark.parametrize(("recipe", "roles"), [("digits-digital", {"weights"}), ("digits-ttv2", {"A", "C"})])
def test_trained_weights_are_drawn_layer_by_layer(tmp_path, recipe, roles):
    overrides = ["training.epochs=1", "training.batch=128", "network.layers=[64, 6, 10]"]
    overrides += ["backend.chip.rows=8"] if "A" in roles else []  # the second layer is split into two tiles
    run = train(load_config(recipe, overrides), tmp_path / "run")
    weights = trained_weights(run.model, run.chip)
    column = "A" in roles  # of the bias
    sizes = {"fc1": 6 * (64 + column), "fc2": 10 * (6 + column)}
    assert {layer: {role: len(values) for role, values in found.items()} for layer, found in weights.items()} == {
        layer: dict.fromkeys(roles, size) for layer, size in sizes.items()
    }
    assert all(torch.isfinite(values).all() for found in weights.values() for values in found.values())
    plot_weights(weights, tmp_path / "weights.png")
    assert_picture(tmp_path / "weights.png")
