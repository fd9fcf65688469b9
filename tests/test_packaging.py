"""Wheel and sdist hold every package and data file, and the wheel runs outside the repository."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("rpudriver", "backends", "calibration")
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python from 3.11.4 on
UNPACKED = {"__pycache__", "scripts"}  # calibration/scripts are for copying
SMOKE = """
import sys, torch
import rpudriver.backends.base
from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.spec import load_preset, preset_names
for name in preset_names():
    load_preset(name)
with make("simulated", preset="idealised", seed=1) as chip:
    chip.arm()
    array = chip.allocate("W", 2, 3)
    assert chip.read_matvec(array, torch.ones(1, 3)).values.shape == (1, 2)
print(rpudriver.backends.base.__file__)
"""


def tree_packages() -> set[str]:
    """Return every folder of the tree that holds Python files, as a package name; the links count once."""
    found = set()
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            relative = file.parent.relative_to(ROOT).parts
            if not UNPACKED & set(relative) and relative[:2] not in [("rpudriver", name) for name in FOLDERS]:
                found.add(".".join(relative if folder == "rpudriver" else ("rpudriver", *relative)))
    return found


def tree_files(pattern: str) -> set[str]:
    """Return the tree's files as they must be named in the wheel."""
    files = {file.relative_to(ROOT) for folder in FOLDERS for file in (ROOT / folder).rglob(pattern)}
    plain = {file for file in files if file.parts[:2] not in [("rpudriver", name) for name in FOLDERS]}
    plain = {file for file in plain if not UNPACKED & set(file.parts)}
    return {(file if file.parts[0] == "rpudriver" else Path("rpudriver") / file).as_posix() for file in plain}


def build(source: Path, out: Path, *what: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel made from a copy of the tree, the sdist, and (in ``again``) a wheel made from the sdist."""
    base = tmp_path_factory.mktemp("packaging")
    source, out = base / "source", base / "dist"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    for folder in (*FOLDERS, "docs", "examples"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    build(source, out, "--wheel")
    build(source, out, "--sdist")
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        archive.extractall(base / "unpacked", **SAFELY)  # type: ignore[arg-type]
    build(next((base / "unpacked").iterdir()), out / "again", "--wheel")
    return out


def test_every_package_of_the_tree_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == tree_packages()


def test_the_wheel_holds_every_module_and_data_file(built: Path) -> None:
    files = wheel_files(next(built.glob("*.whl")))
    assert {name for name in files if name.endswith(".py")} == tree_files("*.py")
    assert {name for name in files if name.endswith(".toml")} == tree_files("*.toml")
    assert "rpudriver/py.typed" in files
    assert len([name for name in files if name.startswith("rpudriver/backends/simulated/presets/")]) > 8


def test_a_wheel_from_the_sdist_is_the_same(built: Path) -> None:
    assert wheel_files(next((built / "again").glob("*.whl"))) == wheel_files(next(built.glob("*.whl")))


def test_the_wheel_runs_from_another_folder(built: Path, tmp_path: Path) -> None:
    """Only this package is new; its dependencies come from the environment of the tests, which must not shadow it."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*pip, str(next(built.glob("*.whl")))], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", SMOKE], cwd=elsewhere, env={"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(site)


@pytest.mark.slow
def test_the_wheel_installs_in_an_empty_environment(built: Path, tmp_path: Path) -> None:
    """Downloads every dependency."""
    venv.create(tmp_path / "env", with_pip=True)
    folder = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    wheel = next(built.glob("*.whl"))
    cpu = ["--extra-index-url", "https://download.pytorch.org/whl/cpu", "--retries", "1"]  # not gigabytes of CUDA
    subprocess.run([folder / "python", "-m", "pip", "install", "-q", "torch==2.13.0", *cpu], check=True)
    subprocess.run([folder / "python", "-m", "pip", "install", "-q", str(wheel)], check=True)
    done = subprocess.run([folder / "python", "-c", SMOKE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "env")
    listing = subprocess.run([folder / "rpudriver", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr


@pytest.mark.parametrize("name", ["backends", "calibration"])
def test_a_bare_import_is_refused(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"import rpudriver.{name}, not {name}" in done.stderr
