"""The base of every model that is read from a file, and errors that say what to do about a bad value."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rpudriver.errors import ConfigError

ModelT = TypeVar("ModelT", bound="StrictModel")

_NOT_A_TABLE = re.compile(r"must be a valid dictionary( or instance of \w+)?")


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, else the list of known words."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known) or 'none'}"


def parse(model: type[ModelT], data: Mapping[str, Any], source: str) -> ModelT:
    """Return a validated model.

    Raises
    ------
    ConfigError
        With one line for each problem: the key's path, its value and what is allowed.
    """
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        lines = [_explain(model, dict(problem)) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    path, siblings = _walk(model, [str(part) for part in problem["loc"]])
    where = ".".join(path)
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {where!r}" + did_you_mean(path[-1], siblings)
        case "missing":
            return f"missing key {where!r}; add it"
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in problem["ctx"]["expected_tags"].split(",")]
            tag = problem["ctx"]["tag"]
            return f"{where}.{problem['ctx']['discriminator'].strip(chr(39))} = {tag!r}" + did_you_mean(tag, tags)
        case "union_tag_not_found":
            return f"missing key '{where}.{problem['ctx']['discriminator'].strip(chr(39))}'; add it"
    value, message = problem["input"], problem["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if isinstance(value, Mapping):  # the message names what is wrong inside the table
        return f"{where}: {message}" if where else message
    return f"{where} = {value!r}: " + _NOT_A_TABLE.sub("must be a table of keys", message)


def _walk(model: type[BaseModel], path: list[str]) -> tuple[list[str], list[str]]:
    """Return the path as a file has it (pydantic puts tags of unions into it), and the names its last key may have."""
    plain = []
    for part, following in zip(path, [*path, ""][1:], strict=True):  # empty where the whole table is meant
        field = model.model_fields.get(part)
        if field is None and part == _tag(model) and following:
            continue
        plain.append(part)
        if field is None or not following:  # an index, or the end
            continue
        inner = [t for t in _types(field.annotation) if isinstance(t, type) and issubclass(t, BaseModel)]
        tagged = [t for t in inner if _tag(t) == following]
        if inner:
            model = (tagged or inner)[0]
    return plain, list(model.model_fields)


def _tag(model: type[BaseModel]) -> str | None:
    for name in ("family", "name", "kind"):
        field = model.model_fields.get(name)
        if field is not None and isinstance(field.default, str):
            return field.default
    return None


def _types(annotation: Any) -> list[Any]:
    found = [annotation]
    for argument in getattr(annotation, "__args__", ()):
        found += _types(argument)
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    ConfigError
        If the file is missing or is not TOML; the message holds the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config file {str(path)!r}; check the path") from None
    except OSError as error:
        raise ConfigError(f"cannot read config file {str(path)!r}: {error.strerror}; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
