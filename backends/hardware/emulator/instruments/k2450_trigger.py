"""The trigger model of the 2450: numbered blocks, run inside the instrument by ``INITiate``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from rpudriver.backends.hardware.emulator.instruments.scpi import boolean, choice, counted, number, unquoted
from rpudriver.backends.hardware.emulator.instruments.status import CommandError

LAST_BLOCK = 63
MOST_STEPS = 10_000_000  # an endless loop is ended by ABORt on the real instrument; here by this


class Machine(Protocol):
    """What the blocks work on."""

    def recall(self, name: str, index: int) -> None:
        """Take over an entry of a source configuration list."""

    def set_output(self, on: bool) -> None:
        """Switch the output."""

    def pass_time(self, seconds: float) -> None:
        """Wait, with the source as it is."""

    def measure_into(self, buffer: str) -> None:
        """Measure once."""

    def clear_buffer(self, buffer: str) -> None:
        """Empty a buffer."""

    def take_limit_event(self) -> bool:
        """Return whether the source limit has held since the last time."""

    def log(self, text: str) -> None:
        """Write to the event log."""


Block = Callable[["Run"], int | None]


@final
@dataclass
class Run:
    """A trigger model while it runs."""

    machine: Machine
    at: int
    counts: dict[int, int]


@final
class TriggerModel:
    """Blocks 1 to 63; gaps are an error when the model starts."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self._words: dict[int, str] = {}
        self.state = "IDLE"

    def clear(self) -> None:
        """Load the empty template."""
        self.blocks.clear()
        self._words.clear()

    def listing(self) -> str:
        """Return the blocks, one a line."""
        return "\n".join(f"{at}) {self._words[at]}" for at in sorted(self._words)) or "Empty"

    def run(self, machine: Machine) -> None:
        """Run from block 1 until past the last.

        Raises
        ------
        CommandError
            If a block is missing.
        """
        last = max(self.blocks, default=0)
        if missing := [at for at in range(1, last + 1) if at not in self.blocks] or ([1] if not last else []):
            raise CommandError(-221, f"trigger model block {missing[0]} is not defined")
        run, steps = Run(machine, 1, {}), 0
        self.state = "RUNNING"
        machine.take_limit_event()
        while run.at <= last and steps < MOST_STEPS:
            target = self.blocks[run.at](run)
            run.at, steps = (run.at + 1 if target is None else target), steps + 1
        self.state = "IDLE" if steps < MOST_STEPS else "ABORTED"

    def put(self, words: str, at: int, block: Block) -> None:
        """Set a block."""
        self.blocks[at], self._words[at] = block, words


def _place(text: str) -> int:
    return int(number(text, 1, LAST_BLOCK))


def _buffer(parameters: Sequence[str], at: int) -> str:
    return unquoted(parameters[at]) if len(parameters) > at else "defbuffer1"


def _recall(parameters: Sequence[str]) -> Block:
    counted(parameters, 1, 4)
    name, index = unquoted(parameters[0]), int(number(parameters[1], 1, 300_000)) if len(parameters) > 1 else 1
    return lambda run: run.machine.recall(name, index)


def _state(parameters: Sequence[str]) -> Block:
    on = boolean(counted(parameters, 1, 1)[0])
    return lambda run: run.machine.set_output(on)


def _delay(parameters: Sequence[str]) -> Block:
    seconds = number(counted(parameters, 1, 1)[0], 0, 10_000)
    return lambda run: run.machine.pass_time(seconds)


def _measure(parameters: Sequence[str]) -> Block:
    buffer = _buffer(counted(parameters, 0, 2), 0)
    count = int(number(parameters[1], 1, 1_000_000)) if len(parameters) > 1 else 1

    def block(run: Run) -> None:
        for _ in range(count):
            run.machine.measure_into(buffer)

    return block


def _clear(parameters: Sequence[str]) -> Block:
    buffer = _buffer(counted(parameters, 0, 1), 0)
    return lambda run: run.machine.clear_buffer(buffer)


def _counter(parameters: Sequence[str]) -> Block:
    target, to = int(number(counted(parameters, 2, 2)[0], 1, 2**31 - 1)), _place(parameters[1])

    def block(run: Run) -> int | None:
        here = run.at
        run.counts[here] = run.counts.get(here, 0) + 1
        if run.counts[here] < target:
            return to
        run.counts[here] = 0  # it counts anew where an outer loop comes back
        return None

    return block


def _always(parameters: Sequence[str]) -> Block:
    to = _place(counted(parameters, 1, 1)[0])
    return lambda run: to


def _event(parameters: Sequence[str]) -> Block:
    event = choice(counted(parameters, 2, 2)[0], ("SLIMit", "NONE", "DISPlay", "COMMand"))
    to = _place(parameters[1])
    return lambda run: to if event == "SLIM" and run.machine.take_limit_event() else None


def _log(parameters: Sequence[str]) -> Block:
    text = unquoted(counted(parameters, 1, 2)[-1])
    return lambda run: run.machine.log(text)


def _nothing(parameters: Sequence[str]) -> Block:
    return lambda run: None


BLOCKS: dict[str, Callable[[Sequence[str]], Block]] = {  # under :TRIGger:BLOCk, parameters after the block's number
    "CONFig:RECall": _recall,
    "SOURce:STATe": _state,
    "DELay:CONStant": _delay,
    "MEASure": _measure,
    "MDIGitize": _measure,  # its name since firmware 1.5
    "BUFFer:CLEar": _clear,
    "BRANch:COUNter": _counter,
    "BRANch:ALWays": _always,
    "BRANch:EVENt": _event,
    "LOG:EVENt": _log,
    "NOP": _nothing,
}


def define(model: TriggerModel, name: str, parameters: Sequence[str]) -> None:
    """Do ``:TRIGger:BLOCk:<name> <number>, ...``."""
    if not parameters:
        raise CommandError(-109)
    block = BLOCKS[name](parameters[1:])
    model.put(f"{name}: {', '.join(parameters[1:])}", _place(parameters[0]), block)


def simple_loop(model: TriggerModel, parameters: Sequence[str]) -> None:
    """Load the template SimpleLoop: count, delay in seconds, buffer."""
    counted(parameters, 1, 3)
    delay = parameters[1] if len(parameters) > 1 else "0"
    buffer = _buffer(parameters, 2)
    model.clear()
    define(model, "BUFFer:CLEar", ["1", buffer])
    define(model, "SOURce:STATe", ["2", "ON"])
    define(model, "DELay:CONStant", ["3", delay])
    define(model, "MDIGitize", ["4", buffer])
    define(model, "BRANch:COUNter", ["5", parameters[0], "3"])
    define(model, "SOURce:STATe", ["6", "OFF"])
