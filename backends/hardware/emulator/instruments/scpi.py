"""SCPI messages (SCPI 1999, volume 1): headers with short and long forms, optional nodes, compound messages."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import final

from rpudriver.backends.hardware.emulator.instruments.status import CommandError

Handler = Callable[[Sequence[str]], str]

_NODE = re.compile(r"(\[)?:?([A-Za-z*]+)(\[1\]|<n>)?(\])?")
_QUOTED = re.compile(r""""[^"]*"|'[^']*'|\([^)]*\)""")
_SUFFIXES = {"N": 1e-9, "U": 1e-6, "M": 1e-3, "K": 1e3}


@final
class CommandTree:
    """Handlers by header patterns such as ``:SOURce[1]:VOLTage[:LEVel]?``: capitals are the short form."""

    def __init__(self) -> None:
        self._patterns: list[tuple[re.Pattern[str], Handler]] = []
        self._find = lru_cache(maxsize=2048)(self._search)

    def add(self, pattern: str, handler: Handler) -> None:
        """Add a command or, with a question mark at the end, a query; numbers of ``<n>`` go before the parameters."""
        self._patterns.append((re.compile(_regex(pattern)), handler))
        self._find.cache_clear()

    def find(self, header: str) -> tuple[Handler, tuple[str, ...]] | None:
        """Return the handler of a header as it was sent, and the numbers in it."""
        return self._find(header.upper())

    def _search(self, header: str) -> tuple[Handler, tuple[str, ...]] | None:
        for pattern, handler in self._patterns:
            if found := pattern.fullmatch(header):
                return handler, tuple(number or "1" for number in found.groups())
        return None


def _regex(pattern: str) -> str:
    parts, led = [], False
    for opening, word, suffix, closing in _NODE.findall(pattern.rstrip("?")):
        short = "".join(letter for letter in word if not letter.islower())
        name = f"(?:{re.escape(short.upper())}|{re.escape(word.upper())})"  # and nothing between the two
        name += {"[1]": "1?", "<n>": r"(\d*)"}.get(suffix, "")
        optional = bool(opening and closing)
        if led:
            parts.append(f"(?::{name})?" if optional else f":{name}")
        else:
            parts.append(f"(?:{name}:)?" if optional else name)
            led = not optional
    return "".join(parts) + (r"\?" if pattern.endswith("?") else "")


def split(text: str, separator: str) -> list[str]:
    """Split at separators outside quotes and parentheses; parts are stripped."""
    masked = _QUOTED.sub(lambda found: "\0" * len(found.group()), text)
    parts, start = [], 0
    for at, letter in enumerate(masked):
        if letter == separator:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


@lru_cache(maxsize=2048)
def units(message: str) -> Sequence[tuple[str, list[str]]]:
    """Take a message apart: header, from the root, and parameters of each unit.

    A header without a colon in front goes on where the one before ended: after ``SOUR:VOLT:RANG 2``, ``ILIM 1`` is
    ``SOUR:VOLT:ILIM 1``. Common commands (``*``) do not change that place.
    """
    found: list[tuple[str, list[str]]] = []
    path = ""
    for unit in split(message, ";"):
        if not unit:
            continue
        header, _, rest = unit.replace("\t", " ").partition(" ")
        header = header.removeprefix(":") if header.startswith(":*") else header
        if not header.startswith("*"):
            header = header.removeprefix(":") if header.startswith(":") or not path else f"{path}:{header}"
            path = header.rpartition(":")[0]
        found.append((header, split(rest, ",") if rest.strip() else []))
    return found


def number(text: str, low: float, high: float) -> float:
    """Return a number within limits, or ``MIN``, ``MAX``."""
    word = text.strip().upper()
    if word in ("MIN", "MINIMUM"):
        return low
    if word in ("MAX", "MAXIMUM"):
        return high
    try:
        value = float(word)
    except ValueError:
        if len(word) > 1 and word[-1] in _SUFFIXES and re.fullmatch(r"[-+.\dE]+", word[:-1]):
            value = float(word[:-1]) * _SUFFIXES[word[-1]]
        else:
            raise CommandError(-104, f"{text} is not a number") from None
    if not low <= value <= high:  # NaN fails too
        raise CommandError(-222, f"{text}, {low:g} to {high:g}")
    return value


def boolean(text: str) -> bool:
    """Return ON, OFF, 1 or 0."""
    word = text.strip().upper()
    if word in ("ON", "1"):
        return True
    if word in ("OFF", "0"):
        return False
    raise CommandError(-224, text)


def choice(text: str, words: Sequence[str]) -> str:
    """Return the short form of one of some words such as ``VOLTage``."""
    given = unquoted(text).upper()
    for word in words:
        short = "".join(letter for letter in word if not letter.islower())
        if given in (short.upper(), word.upper()):
            return short
    raise CommandError(-224, text)


def unquoted(text: str) -> str:
    """Return text without its quotes."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def show(value: float) -> str:
    """Return a number as instruments write settings."""
    return f"{value:.7G}"


def counted(parameters: Sequence[str], least: int, most: int) -> Sequence[str]:
    """Refuse too few and too many parameters."""
    if len(parameters) < least:
        raise CommandError(-109)
    if len(parameters) > most:
        raise CommandError(-108)
    return parameters
