"""The resting point of analog SGD against its closed form, as the example measures it."""

import importlib.util
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "implicit_penalty.py"


def test_devices_rest_at_the_minimum_of_objective_and_penalty() -> None:
    spec = importlib.util.spec_from_file_location("implicit_penalty", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.measure(steps=6000)
    w0, expected, measured = found["w0"], found["closed_form"], found["measured"]
    # a weight's mean over 3000 steps of 200 steps' memory is good to 0.012; 400 of them, of size 0.12, make the slope
    # good to 0.5 %. Six of these errors:
    slope = float((measured * expected).sum() / (expected**2).sum())
    assert abs(slope - 1) < 0.03
    assert float((measured * w0).sum() / (w0**2).sum()) < 0.5  # far from the unpenalised minimum
    assert float((measured - expected).abs().max()) < 0.08
    assert torch.isfinite(found["error"]).all()


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 80
