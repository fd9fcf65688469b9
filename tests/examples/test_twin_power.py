import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_study_accepts_and_rejects(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "examples/twin_power.py", "--quick", "--json", tmp_path / "r.json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    accepted = found["known"][0]["accepted"]
    assert accepted.pop("right") == 2
    assert set(accepted.values()) == {0}
    assert sum(found["fitted"]["covered"].values()) >= 8  # of 12 intervals of 95 %, which share one chip


def test_the_script_fits_and_accepts(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "calibration/scripts/twin.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dw_min" in done.stdout
    assert float(done.stdout.split("p = ")[1].split()[0]) > 0.05
    assert (tmp_path / "twin.toml").is_file()
