"""Writing of TOML: the standard library only reads it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def dump_toml(data: Mapping[str, Any]) -> str:
    """Return nested tables as TOML text, which ``tomllib.loads`` turns back into equal tables.

    Parameters
    ----------
    data
        Strings, finite numbers, booleans, lists and tables with string keys. TOML has no null: leave None out.

    Raises
    ------
    TypeError
        For a value that TOML has no form for.
    """
    return "\n".join(_table(data, ())) + "\n"


def _table(data: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    values = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    lines = [f"[{'.'.join(_key(part) for part in path)}]"] if path and (values or not data) else []
    lines += [f"{_key(key)} = {_value(value)}" for key, value in values.items()]
    for key, value in data.items():
        if isinstance(value, Mapping):
            lines += [""] * bool(lines) + _table(value, (*path, key))
    return lines


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves DEL bare, TOML forbids it


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    raise TypeError(f"TOML has no form for {type(value).__name__} {value!r}")
