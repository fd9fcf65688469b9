"""Backends by name: ours and other people's, found through the entry-point group ``rpudriver.backends``."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from rpudriver.backends.base import CrossbarBackend
from rpudriver.config.model import did_you_mean
from rpudriver.errors import ConfigError

GROUP = "rpudriver.backends"
Factory = Callable[..., CrossbarBackend]


def backend_names() -> list[str]:
    """Return the names of all installed backends."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def make(name: str, **options: Any) -> CrossbarBackend:
    """Open a backend by name; it is not armed yet.

    Parameters
    ----------
    name : str
        ``"simulated"``, ``"reference"``, ``"null"`` or that of an installed plug-in.
    **options
        Passed to the backend's factory, for example ``preset="asymmetric-100"``, ``seed=1``.

    Raises
    ------
    ConfigError
        If the name is unknown ("did you mean") or the factory refuses an option.
    """
    for point in entry_points(group=GROUP):
        if point.name == name:
            factory: Factory = point.load()
            return factory(**options)
    raise ConfigError(f"no backend {name!r}" + did_you_mean(name, backend_names()))
