"""The studies of zero shifting at a small size, and the script that users copy."""

import json
import sys
from pathlib import Path

import pytest

from tests.examples.loading import ROOT, load


def test_the_response_takes_fewer_pulses_at_a_small_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["x", "--quick", "--json", str(tmp_path / "z.json"), "--picture", str(tmp_path / "z.png")]
    )
    load("examples/zero_shift_study.py").main()
    found = json.loads((tmp_path / "z.json").read_text())["0.01"]
    needs = {name: pulses for name, (pulses, _) in found["needs"].items()}
    # 576 devices tell a median to 5 %; near 0.012 it falls by a tenth in a tenth of the pulses
    assert 180 < needs["alternating"] < 360
    assert needs["response"] < 0.75 * needs["alternating"]
    for row in found["whole"].values():
        assert row["median"] < 0.015
        assert abs(row["verified_rms"] - row["true_rms"]) < 4 * row["verified_rms_error"] + 0.1 * row["true_rms"]
    assert (tmp_path / "z.png").stat().st_size > 10_000


def test_the_training_study_runs_every_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load("examples/zero_shift_training.py")
    monkeypatch.setattr(study, "RECIPES", ("digits-ttv2",))
    monkeypatch.setattr(sys, "argv", ["x", "--quick", "--json", str(tmp_path / "t.json")])
    study.main()
    found = json.loads((tmp_path / "t.json").read_text())["digits-ttv2"]
    assert set(found) == set(study.ARMS)
    assert all(10 < accuracy <= 100 for (accuracy,) in found.values())


def test_the_script_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    load("calibration/scripts/zero_shift.py").main()
    assert "from zero before" in capsys.readouterr().out
    assert (tmp_path / "zero-shift.png").stat().st_size > 20_000
    assert len((ROOT / "calibration/scripts/zero_shift.py").read_text().splitlines()) <= 40
