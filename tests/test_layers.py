"""The import contracts of pyproject.toml hold, and a planted violation breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"
PLANTED = {
    "upwards": ("errors.py", "import rpudriver.types", "Imports go one way"),
    "a chip by its name": ("nn/planted.py", "from rpudriver.backends import simulated", "Chips are opened through"),
    "true weights": ("algorithms/sgd.py", "from rpudriver.backends.oracle import oracle", "True weights are for"),
    "a package without a layer": ("planted/__init__.py", "", "Imports go one way"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(folder)}, capture_output=True, text=True)


def test_the_tree_keeps_its_layers() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("violation", PLANTED)
def test_a_planted_violation_is_found(violation: str, tmp_path: Path) -> None:
    file, line, contract = PLANTED[violation]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "rpudriver", tmp_path / "rpudriver", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "rpudriver" / file
    target.parent.mkdir(exist_ok=True)
    with target.open("a") as stream:
        stream.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in done.stdout.split("Broken contracts")[1]
