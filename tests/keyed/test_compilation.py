"""Slow compilations are said: once, and not when the code was on disk already."""

import logging
from pathlib import Path
from typing import Any

import numba as nb
import pytest

from rpudriver.keyed import compilation


def twice(x: int) -> int:
    return 2 * x


def fresh(name: str) -> Any:
    """A function of the package as a new process would have it: nothing compiled yet, what is on disk can be loaded."""
    function = nb.njit(cache=True)(twice)
    function.__module__ = "rpudriver.test"
    return compilation.announced(function, name)


def test_a_compilation_is_said_once_and_a_loaded_function_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nb.config, "CACHE_DIR", str(tmp_path))
    assert compilation.cache_place() == str(tmp_path)
    before = len(compilation.compiled_functions())
    with caplog.at_level(logging.WARNING, "rpudriver"):
        first = fresh("a test kernel")
        assert first(3) == 6
        assert first(2.5) == 5.0  # other types, the same name
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["compiling a test kernel"]
    assert len(compilation.compiled_functions()) == before + 2
    caplog.clear()
    again = fresh("another name")
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1
    assert not caplog.records
    assert len(compilation.compiled_functions()) == before + 2


def test_functions_of_others_are_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    before = compilation.compiled_functions()
    assert nb.njit(twice)(1) == 2
    assert compilation.compiled_functions() == before
    assert not caplog.records
