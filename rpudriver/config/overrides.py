"""Overrides from the command line: ``--set algorithm.n_s=5``."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from rpudriver.errors import ConfigError

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_BARE_WORD = re.compile(r"[A-Za-z_.~/][A-Za-z0-9_.~/\\:-]*")  # names and paths


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return the path and the value of ``key.path=value``.

    The value is TOML (``5``, ``1e-3``, ``true``, ``[64, 10]``, ``"text"``); a plain word or path needs no quotes.

    Raises
    ------
    ConfigError
        If the text is not of this form.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not _KEY.fullmatch(key):
        raise ConfigError(f"override {text!r} is not of the form key.path=value, for example algorithm.n_s=5")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if _BARE_WORD.fullmatch(value):
            return tuple(key.split(".")), value
        raise ConfigError(f"override {text!r}: {value!r} is not a TOML value ({error})") from None
    if set(parsed) != {"value"}:
        raise ConfigError(f"override {text!r} holds more than one value; give each its own --set")
    return tuple(key.split(".")), parsed["value"]


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return nested tables with ``key.path=value`` overrides put in, the last of a key winning.

    Raises
    ------
    ConfigError
        If an override is malformed or its path leads through a value that is not a table. Whether the key is known
        is the model's to say.
    """
    result = dict(data)
    for text in overrides:
        path, value = parse_override(text)
        table = result
        for depth, part in enumerate(path[:-1], start=1):
            inner = table.get(part, {})
            if not isinstance(inner, Mapping):
                raise ConfigError(f"override {text!r}: {'.'.join(path[:depth])} = {inner!r} is a value, not a table")
            table[part] = dict(inner)
            table = table[part]
        table[path[-1]] = value
    return result
