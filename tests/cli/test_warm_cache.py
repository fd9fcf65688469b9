"""``rpudriver warm-cache`` reaches every kernel, and says what it did."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.kernels import steps
from rpudriver.cli.main import main
from rpudriver.cli.warm_cache import every_chip, warm


def test_every_kernel_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are replaced by notes of their calls: they are not compiled."""
    called: set[tuple[str, int, int]] = set()

    class Note:
        overloads: ClassVar[dict[Any, Any]] = {}  # compiled for nothing

        def __init__(self, *what: Any) -> None:
            self._what = what

        def __call__(self, *_: Any) -> None:
            called.add(self._what)

    def note(kind: str) -> Callable[[int, int], Any]:
        return partial(Note, kind)

    monkeypatch.setattr(native, "dense_kernel", note("dense"))
    monkeypatch.setattr(native, "sparse_kernel", note("sparse"))
    for chip in every_chip():
        warm(chip)
    forms = (steps.QUIET, steps.MULTIPLICATIVE, steps.ADDITIVE, steps.GENERAL)
    assert called == set(product(("dense", "sparse"), range(steps.MEASURED + 1), forms))


def test_a_second_time_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["warm-cache", "--preset", "asymmetric-100"]
    assert main([*command, "--quiet"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("nothing to compile: all is in ")
    assert "1/1" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "asymetric-100"], "did you mean 'asymmetric-100'"),
        (["--jobs", "-1"], "--jobs -1: give at least 1"),
    ],
)
def test_errors_are_one_clean_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm-cache", "--quiet", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


@pytest.mark.slow  # compiles all that a preset needs: most of a minute
def test_an_empty_cache_is_filled_and_then_used(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "rpudriver.cli.main", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    first = run("warm-cache", "--preset", "asymmetric-100", "--quiet")
    assert first.stdout.startswith("compiled ")
    assert str(tmp_path) in first.stdout
    assert first.stderr == ""
    kept = sorted(tmp_path.rglob("*.nbc"))
    assert {"dense", "sparse", "native", "counting"} <= {path.name.split(".")[0] for path in kept}
    assert run("warm-cache", "--preset", "asymmetric-100", "--quiet").stdout.startswith("nothing to compile")
    small = ["--set", "training.epochs=1", "--set", "training.batch=128", "--set", "network.layers=[64, 6, 10]"]
    run("train", "digits-ttv2", "--out", str(tmp_path / "run"), "--quiet", *small)
    assert sorted(tmp_path.rglob("*.nbc")) == kept  # training compiled nothing more
