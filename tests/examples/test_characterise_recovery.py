import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_study_recovers_what_the_chip_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["x", "--quick", "--json", str(tmp_path / "r.json"), "--table", str(tmp_path / "t")]
    )
    runpy.run_path(str(ROOT / "examples/characterise_recovery.py"), run_name="__main__")
    result = json.loads((tmp_path / "r.json").read_text())["asymmetric-100"]
    step = result["quantities"]["dw_min"]
    assert step["devices"] > 60
    assert step["coverage"] > 0.85  # 64 devices: 95 % to 2.7 %
    assert abs(step["median_off"]) < 0.02 * step["true_median"]
    assert "| dw_min |" in (tmp_path / "t").read_text()


def test_the_script_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "calibration/scripts/characterise.py"), run_name="__main__")
    assert "symmetry_point" in capsys.readouterr().out
    assert (tmp_path / "characterised/characterisation.png").exists()
