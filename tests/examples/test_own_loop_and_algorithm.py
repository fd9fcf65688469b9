"""The examples of a loop and of an algorithm of one's own run, are short, and train."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_own_loop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("own_loop")
    monkeypatch.setattr(example, "EPOCHS", 2)
    assert example.main() > 0.6  # three epochs reach about 0.86; chance is 0.1
    assert "epoch 2" in capsys.readouterr().out


def test_own_algorithm() -> None:
    # the loss falls to what read noise leaves, about 0.06 of the first epoch's; an untrained layer stays at 1
    assert load("own_algorithm").main() < 0.15


@pytest.mark.parametrize("name", ["own_loop", "own_algorithm"])
def test_they_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 80
