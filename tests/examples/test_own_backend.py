"""The example of a chip of one's own: installed as a package, found by name, and it keeps the contract."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "examples" / "own_backend"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a copy of the example into a folder of its own."""
    folder = tmp_path_factory.mktemp("own_backend")
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / "source"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def rpudriver(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "rpudriver.cli.main", "backends", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=installed, env=environment)


def test_it_is_short() -> None:
    assert len((SOURCE / "tiny_board.py").read_text().splitlines()) < 80


def test_it_is_listed_by_name(installed: Path) -> None:
    done = rpudriver(installed, "list")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("tiny-board")]
    assert "rpudriver-tiny-board 0.1.0" in line


def test_it_keeps_the_contract(installed: Path, tmp_path: Path) -> None:
    done = rpudriver(installed, "check", "tiny-board", "--json", str(tmp_path / "check.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "check.json").read_text())["runs"]
    skipped = {check["name"] for check in run["checks"] if check["outcome"] == "skipped"}
    assert skipped == {"output-noise-fresh", "sum-noise", "kinds-declared"}  # it has no noise, and one kind of pulse
    assert run["counts"]["passed"] == len(run["checks"]) - len(skipped)
