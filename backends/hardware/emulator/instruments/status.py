"""Error queue and status registers of IEEE 488.2, as every instrument of the bench has them."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import final

ERRORS = {  # of SCPI 1999, volume 2, chapter 21, and those of our instruments' manuals
    0: "No error",
    -102: "Syntax error",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -221: "Settings conflict",
    -222: "Parameter data out of range",
    -224: "Illegal parameter value",
    -285: "TSP Syntax error",
    -286: "TSP Runtime error",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    1101: "Parameter too big",
    1102: "Parameter too small",
    1114: "Settings conflict",
    1115: "Parameter error",
    1120: "Channel list error",
}
LONGEST_QUEUE = 32

OPERATION_COMPLETE, QUERY, DEVICE, EXECUTION, COMMAND, POWER_ON = 1, 4, 8, 16, 32, 128


@final
class CommandError(Exception):
    """Why a command was not done; it ends in the error queue."""

    def __init__(self, code: int, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code, self.detail = code, detail


@final
@dataclass
class Status:
    """What an instrument remembers of its errors and events."""

    errors: deque[tuple[int, str]] = field(default_factory=deque)
    event: int = POWER_ON
    event_enable: int = 0
    request_enable: int = 0

    def report(self, code: int, detail: str = "") -> None:
        """Append an error; the last place of a full queue says that it was full."""
        text = ERRORS.get(code, "Error") + (f", {detail}" if detail else "")
        if len(self.errors) >= LONGEST_QUEUE:
            self.errors[-1] = (-350, ERRORS[-350])
        else:
            self.errors.append((code, text))
        self.event |= COMMAND if -200 < code <= -100 else EXECUTION if -300 < code <= -200 else DEVICE

    def next_error(self) -> tuple[int, str]:
        """Take the oldest error out, (0, "No error") where there is none."""
        return self.errors.popleft() if self.errors else (0, ERRORS[0])

    def clear(self) -> None:
        """Do ``*CLS``."""
        self.errors.clear()
        self.event = 0

    def take_event(self) -> int:
        """Do ``*ESR?``."""
        event, self.event = self.event, 0
        return event

    @property
    def byte(self) -> int:
        """The status byte: bit 2 errors, bit 5 summary of the event register."""
        return (4 if self.errors else 0) | (32 if self.event & self.event_enable else 0)


def common(status: Status, header: str, argument: str) -> str | None:
    """Do a common command of IEEE 488.2 that every instrument has alike; None where it is not one of these.

    Returns
    -------
    the answer, empty for a command that has none.
    """
    done = _COMMON.get(header.upper())
    return None if done is None else done(status, argument)


def _clear(status: Status, _: str) -> str:
    status.clear()
    return ""


def _enable_events(status: Status, argument: str) -> str:
    status.event_enable = _register(argument)
    return ""


def _enable_requests(status: Status, argument: str) -> str:
    status.request_enable = _register(argument)
    return ""


def _complete(status: Status, _: str) -> str:
    status.event |= OPERATION_COMPLETE
    return ""


def _register(argument: str) -> int:
    if not argument.strip().isdigit():
        raise CommandError(-104 if argument.strip() else -109, argument)
    if int(argument) > 255:
        raise CommandError(-222, f"{argument}, 0 to 255")
    return int(argument)


_COMMON: dict[str, Callable[[Status, str], str]] = {
    "*CLS": _clear,
    "*ESE": _enable_events,
    "*ESE?": lambda status, _: str(status.event_enable),
    "*ESR?": lambda status, _: str(status.take_event()),
    "*SRE": _enable_requests,
    "*SRE?": lambda status, _: str(status.request_enable),
    "*STB?": lambda status, _: str(status.byte),
    "*OPC": _complete,
    "*OPC?": lambda status, _: "1",
    "*TST?": lambda status, _: "0",
    "*WAI": lambda status, _: "",
}
