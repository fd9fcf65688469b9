"""Source configuration lists and sweeps of the 2450: a sweep is a list of settings and a trigger model over it."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np

from rpudriver.backends.hardware.emulator.instruments.k2450_settings import Value
from rpudriver.backends.hardware.emulator.instruments.k2450_trigger import Run, TriggerModel, define
from rpudriver.backends.hardware.emulator.instruments.scpi import choice, counted, number, unquoted
from rpudriver.backends.hardware.emulator.instruments.status import CommandError

MOST_POINTS, MOST_LISTED = 2500, 100
SWEEPS = {"VOLT": "VoltCustomSweepList", "CURR": "CurrCustomSweepList"}
LIMITS = {"VOLT": 210.0, "CURR": 1.05}


@final
class Sweeps:
    """The configuration lists, by name, and what makes trigger models of them."""

    def __init__(self, model: TriggerModel) -> None:
        self._model = model
        self._lists: dict[str, list[Mapping[str, Value]]] = {}

    def clear(self) -> None:
        """Forget all lists."""
        self._lists.clear()

    # ---- configuration lists ------------------------------------------------------------------------------------

    def create(self, parameters: Sequence[str]) -> str:
        """Make an empty list."""
        self._lists[unquoted(counted(parameters, 1, 1)[0])] = []
        return ""

    def delete(self, parameters: Sequence[str]) -> str:
        """Delete a list."""
        name = unquoted(counted(parameters, 1, 2)[0])
        self._found(name)
        del self._lists[name]
        return ""

    def store(self, parameters: Sequence[str], settings: Mapping[str, Value]) -> str:
        """Put settings into a list, at its end or at an index."""
        entries = self._found(unquoted(counted(parameters, 1, 2)[0]))
        if len(parameters) == 1:
            entries.append(settings)
        else:
            at = int(number(parameters[1], 1, len(entries) + 1))
            entries[at - 1 : at] = [settings]
        return ""

    def size(self, parameters: Sequence[str]) -> str:
        """Return how many entries a list has."""
        return str(len(self._found(unquoted(counted(parameters, 1, 1)[0]))))

    def entry(self, name: str, index: int) -> Mapping[str, Value]:
        """Return an entry, counted from 1."""
        entries = self._found(name)
        if not 1 <= index <= len(entries):
            raise CommandError(-222, f"index {index} of {name}, which has {len(entries)}")
        return entries[index - 1]

    def _found(self, name: str) -> list[Mapping[str, Value]]:
        if name not in self._lists:
            raise CommandError(-224, f"no configuration list {name}")
        return self._lists[name]

    # ---- sweeps -------------------------------------------------------------------------------------------------

    def values(self, short: str, append: bool, parameters: Sequence[str]) -> str:
        """Do ``:SOURce:LIST:<function> <values>``."""
        if not 1 <= len(parameters) <= MOST_LISTED:
            raise CommandError(-108 if parameters else -109, f"at most {MOST_LISTED} values a command")
        most = LIMITS[short]
        fresh = [{f"{short}.level": number(text, -most, most)} for text in parameters]
        kept = self._lists.get(SWEEPS[short], []) if append else []
        if len(kept) + len(fresh) > MOST_POINTS:
            raise CommandError(-222, f"at most {MOST_POINTS} points")
        self._lists[SWEEPS[short]] = [*kept, *fresh]
        return ""

    def points(self, short: str, parameters: Sequence[str]) -> str:
        """Do ``:SOURce:LIST:<function>:POINts?``."""
        return str(len(self._lists.get(SWEEPS[short], [])))

    def of_list(self, short: str, parameters: Sequence[str]) -> str:
        """Do ``:SOURce:SWEep:<function>:LIST <start index>, <delay>, <count>, <fail abort>, <buffer>``."""
        counted(parameters, 1, 5)
        name = SWEEPS[short]
        first = int(number(parameters[0], 1, len(self._found(name))))
        count = int(number(parameters[2], 1, 268_435_455)) if len(parameters) > 2 else 1
        buffer = unquoted(parameters[4]) if len(parameters) > 4 else "defbuffer1"
        self._programme(name, first, parameters[1] if len(parameters) > 1 else "0", count, buffer)
        return ""

    def linear(self, short: str, parameters: Sequence[str]) -> str:
        """Do ``:SOURce:SWEep:<function>:LINear <start>, <stop>, <points>, <delay>, <count>, <range>, ...``."""
        counted(parameters, 3, 9)
        most = LIMITS[short]
        start, stop = (number(text, -most, most) for text in parameters[:2])
        steps = int(number(parameters[2], 2, 1_000_000))
        levels = np.linspace(start, stop, steps).tolist()
        if len(parameters) > 7 and choice(parameters[7], ("ON", "OFF")) == "ON":
            levels += levels[-2::-1]
        name = f"{SWEEPS[short][:4]}LinearSweepList"
        self._lists[name] = [{f"{short}.level": level} for level in levels]
        count = int(number(parameters[4], 1, 268_435_455)) if len(parameters) > 4 else 1
        buffer = unquoted(parameters[8]) if len(parameters) > 8 else "defbuffer1"
        self._programme(name, 1, parameters[3] if len(parameters) > 3 else "0", count, buffer)
        return ""

    def _programme(self, name: str, first: int, delay: str, count: int, buffer: str) -> None:
        """Load a model that sources every entry from the first on, waits and measures."""
        wait = 0.0 if delay == "-1" else number(delay, 0, 10_000)  # -1: the automatic delay
        entries, model = self._lists[name], self._model
        model.clear()
        define(model, "BUFFer:CLEar", ["1", buffer])
        define(model, "SOURce:STATe", ["2", "ON"])

        def sweep(run: Run) -> None:
            for _ in range(count):
                for index in range(first, len(entries) + 1):
                    run.machine.recall(name, index)
                    run.machine.pass_time(wait)
                    run.machine.measure_into(buffer)

        model.put(f"CONFig:NEXT {name}, DELay {delay}, MDIGitize {buffer}", 3, sweep)
        define(model, "SOURce:STATe", ["4", "OFF"])
