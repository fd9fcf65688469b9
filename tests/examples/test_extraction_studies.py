"""The studies of extraction at a small size, and the script that users copy."""

import json
import sys

import pytest

from tests.examples.loading import ROOT, load


def test_the_limits_are_reached_at_a_small_size(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["x", "--quick", "--json", str(tmp_path / "l.json"), "--picture", str(tmp_path / "l.png")]
    )
    load("examples/extraction_limits.py").main()
    found = json.loads((tmp_path / "l.json").read_text())
    judged = [row for row in found["rows"] if row["design"] != "one-hot, once"]
    assert len(judged) == 8
    for row in judged:  # 4096 weights: an rms is good to 1.1 %, the coverage to 0.34 %; three of these
        assert abs(row["slope"] - 1) < 0.002
        assert row["rms_error"] < 1.1 * row["limit"]
        assert 0.94 < row["coverage"] < 0.96
    # smaller rows take larger weights to fill the bound; the same reads are needed for the same error
    assert all(row["reads"] < 2900 for row in judged if row["design"] == "orthogonal")
    errors = [point["rms_error"] / point["limit"] for point in found["curve"]]
    assert all(abs(ratio - 1) < 0.04 for ratio in errors)
    assert (tmp_path / "l.png").stat().st_size > 10_000


def test_the_network_after_training(tmp_path):
    small = ["training.epochs=4", "training.batch=32", "network.layers=[64, 8, 10]"]
    row = load("examples/extraction_after_training.py").row("digits-ttv2", small, 30.0, tmp_path, None)
    assert row["windows"] >= 10
    assert abs(row["extracted"] - row["on_its_chip_again"]) < 0.06
    assert row["averaged"] > 0.5


@pytest.mark.parametrize("name", ["extract"])
def test_the_script_runs_as_it_is(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = load(f"calibration/scripts/{name}.py")
    script.main()
    assert "standard error" in capsys.readouterr().out
    assert (tmp_path / "extraction.png").exists()
    assert len((ROOT / f"calibration/scripts/{name}.py").read_text().splitlines()) <= 40
