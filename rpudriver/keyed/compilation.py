"""What Numba compiles in this process: said when it takes long, counted, and where it is kept."""

import logging
from typing import Any

import numba as nb
from numba.core import event

from rpudriver.keyed import native

_log = logging.getLogger("rpudriver")
_long: dict[int, str] = {}  # what a slow function is called, by its identity
_said: set[str] = set()
_compiled: list[str] = []


class _Watch(event.Listener):
    def on_start(self, event: Any) -> None:
        """Is not called for functions that are loaded from the cache."""
        function = event.data["dispatcher"]
        module = getattr(function, "__module__", None) or ""
        if not module.startswith("rpudriver."):
            return
        _compiled.append(f"{module}.{function.__qualname__}")
        name = _long.get(id(function))
        if name is not None and name not in _said:
            _said.add(name)
            _log.warning("compiling %s: once, some seconds; `rpudriver warm-cache` does it for all", name)

    def on_end(self, event: Any) -> None:
        """Nothing to do."""


_register: Any = event.register  # has no types
_register("numba:compile", _Watch())


def announced(function: Any, name: str) -> Any:
    """Return a Numba function that takes seconds to compile; it will be said, once for each name, when it is.

    The message goes to the logger ``rpudriver`` as a warning, so on stderr where nobody set logging up.
    """
    _long[id(function)] = name  # it lives as long as the process: kernels are kept
    return function


def compiled_functions() -> tuple[str, ...]:
    """Return the package's functions that this process has compiled, not those it found in the cache."""
    return tuple(_compiled)


def cache_place() -> str:
    """Return where compiled functions are kept: ``NUMBA_CACHE_DIR``, or Numba's choice of a folder for a source."""
    settings: Any = nb.config
    return str(settings.CACHE_DIR or native.sample_words.stats.cache_path)
