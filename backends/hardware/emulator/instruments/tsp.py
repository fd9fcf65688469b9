"""What all TSP instruments have: chunks of Lua, ``print``, the error queue, common commands.

The language is Lua itself (the package ``lupa``), without files, processes, modules or a way to Python.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from rpudriver.backends.hardware.emulator.instruments.instrument import Instrument
from rpudriver.backends.hardware.emulator.instruments.status import CommandError, Status, common
from rpudriver.errors import ConfigError

SEVERITIES = {-350: 20.0, -285: 20.0, -286: 20.0}
MOST_INSTRUCTIONS = 20_000_000  # of a chunk: an endless loop ends
MOST_BYTES = 64 << 20

_PRELUDE = """
local sethook, pairs, setmetatable, error = debug.sethook, pairs, setmetatable, error
for _, name in pairs{"io", "os", "debug", "package", "require", "module", "dofile", "loadfile", "load", "loadstring",
                     "python", "collectgarbage", "newproxy", "getfenv", "setfenv", "getmetatable", "rawset"} do
    _G[name] = nil
end
local function run(chunk, most)
    sethook(function() error("script aborted: too many steps") end, "", most)
    chunk()
    sethook()
end
local function part(fields, get, set)
    local plain = {}
    for key, value in pairs(fields) do plain[key] = value end
    return setmetatable({}, {
        __index = function(_, key)
            local value = plain[key]
            if value == nil then return get(key) end
            return value
        end,
        __newindex = function(_, key, value) set(key, value) end,
    })
end
return run, part
"""


@final
@dataclass(frozen=True)
class Attribute:
    """An attribute of an instrument, as a pair of functions."""

    read: Callable[[], Any]
    write: Callable[[Any], None] | None = None


class TspInstrument(Instrument):
    """An instrument whose commands are chunks of Lua.

    A line is run at once; the lines between ``loadandrunscript`` (or ``loadscript name``) and ``endscript`` together.
    """

    identity: str
    model: str

    def __init__(self) -> None:
        try:
            from lupa import lua51
        except ImportError as error:
            raise ConfigError(f"the bench needs Lua ({error}): pip install 'rpudriver[emulator]'") from None
        self._lua51 = lua51
        self._lua = lua51.LuaRuntime(
            register_eval=False, register_builtins=False, unpack_returned_tuples=True,
            attribute_filter=_no_attributes, max_memory=MOST_BYTES,
        )  # fmt: skip
        self._run, self._part = self._lua.execute(_PRELUDE)
        self.status = Status()
        self._output: list[str] = []
        self._script: list[str] | None = None
        self._script_name = ""
        self.offer(self._standard_names())

    @abstractmethod
    def reset(self) -> None:
        """Go back to the settings of a fresh start."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Do ``delay``."""

    def offer(self, names: dict[str, Any]) -> None:
        """Add global names."""
        for name, value in names.items():
            self._lua.globals()[name] = value

    def part(self, name: str, fields: dict[str, Any]) -> Any:
        """Return a part of the instrument such as ``smua.source``: attributes are checked, other fields are fixed."""
        attributes = {key: value for key, value in fields.items() if isinstance(value, Attribute)}

        def get(key: Any) -> Any:
            return attributes[key].read() if key in attributes else None

        def put(key: Any, value: Any) -> None:
            write = attributes[key].write if key in attributes else None
            if write is None:
                raise CommandError(-286, f"{name}.{key} cannot be set")
            write(value)

        fixed = {key: value for key, value in fields.items() if key not in attributes}
        return self._part(self._lua.table_from(fixed), get, put)

    def array(self, parts: Sequence[Any]) -> Any:
        """Return a Lua array."""
        return self._lua.table_from(parts)

    # ---- messages -----------------------------------------------------------------------------------------------

    def receive(self, message: str) -> bytes:
        message = message.strip()
        self._output.clear()
        try:
            self._line(message)
        except CommandError as error:
            self.status.report(error.code, error.detail)
        except self._lua51.LuaSyntaxError as error:
            self.status.report(-285, _first_line(error))
        except Exception as error:  # whatever a script does wrong, the instrument goes on
            self.status.report(-286, _first_line(error))
        return "".join(self._output).encode("latin-1", "replace")

    def disconnected(self) -> None:
        """A script of which the end never came is dropped."""
        self._script = None

    def _line(self, message: str) -> None:
        word, _, rest = message.partition(" ")
        if word in ("loadscript", "loadandrunscript"):
            self._script, self._script_name = [], rest.strip() if word == "loadscript" else ""
        elif word == "endscript" and self._script is not None:
            text, self._script = "\n".join(self._script), None
            chunk = self._lua.compile(text)
            if self._script_name:
                self.offer({self._script_name: chunk})
            else:
                self._run(chunk, MOST_INSTRUCTIONS)
        elif self._script is not None:
            self._script.append(message)
        elif message.startswith("*"):
            self._common(*message.partition(" ")[::2])
        elif message:
            self._run(self._lua.compile(message), MOST_INSTRUCTIONS)

    def _common(self, header: str, argument: str) -> None:
        answer: str | None
        match header.upper():
            case "*IDN?":
                answer = self.identity
            case "*RST":
                self.reset()
                return
            case _:
                answer = common(self.status, header, argument)
        if answer is None:
            raise CommandError(-285, f"unexpected symbol near `{header}'")
        if answer:
            self._output.append(f"{answer}\n")

    # ---- names --------------------------------------------------------------------------------------------------

    def _standard_names(self) -> dict[str, Any]:
        errors = {
            "next": self._next_error,
            "clear": lambda *_: self.status.errors.clear(),
            "count": Attribute(lambda: float(len(self.status.errors))),
        }
        node = {"model": self.model, "serialno": self.identity.split(",")[2].strip(), "linefreq": 50.0}
        return {
            "print": self._print,
            "delay": lambda seconds=0.0, *_: self.pass_time(to_number(seconds)),
            "reset": lambda *_: self.reset(),
            "waitcomplete": lambda *_: None,
            "errorqueue": self.part("errorqueue", errors),
            "localnode": self.part("localnode", node),
        }

    def _next_error(self, *_: Any) -> tuple[float, str, float, float]:
        code, message = self.status.next_error()
        return float(code), message if code else "Queue Is Empty", SEVERITIES.get(code, 10.0) if code else 0.0, 1.0

    def _print(self, *values: Any) -> None:
        self._output.append("\t".join(map(_text, values)) + "\n")


def limited(read: Callable[[], float], write: Callable[[float], None], low: float, high: float) -> Attribute:
    """Return an attribute that is a number within limits."""

    def checked(value: Any) -> None:
        found = to_number(value)
        if not found <= high:
            raise CommandError(1101, f"{found:g}, at most {high:g}")
        if not found >= low:
            raise CommandError(1102, f"{found:g}, at least {low:g}")
        write(found)

    return Attribute(read, checked)


def remembered(default: float, low: float, high: float) -> Attribute:
    """Return an attribute that is a number within limits and changes nothing else here."""
    kept = [default]
    return limited(lambda: kept[0], lambda value: kept.__setitem__(0, value), low, high)


def to_number(value: Any) -> float:
    """Return a number of a script."""
    if isinstance(value, (int, float)) and not math.isnan(value):  # true is 1
        return float(value)
    raise CommandError(1115, f"{value!r} is not a number")


def _text(value: Any) -> str:
    """Return a value as ``print`` shows it: numbers with six digits, as by ``format.asciiprecision``."""
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    return f"{value:.5e}" if isinstance(value, (int, float)) else str(value)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:200]


def _no_attributes(owner: Any, name: Any, setting: bool) -> Any:
    raise AttributeError(f"no {name}")
