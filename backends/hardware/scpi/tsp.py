"""An instrument that speaks TSP, Keithley's Lua: scripts in, what they print out, errors as errors."""

from collections.abc import Sequence
from typing import final

from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.errors import BoardError

_MOST_ERRORS = 64


@final
class Tsp:
    """One of some models; after each script its error queue is looked at."""

    def __init__(self, link: Link, models: Sequence[str]) -> None:
        self._link, self._models = link, models

    def meet(self) -> str:
        """Return who answers; nothing is changed.

        Raises
        ------
        BoardError
            If it is another instrument.
        LinkLostError
        """
        found = self._link.ask("*IDN?")
        if not any(f"Model {model}" in found for model in self._models):
            raise BoardError(
                f"{self._link.address} is {found!r}, not a Keithley {' or '.join(self._models)}: exchange the addresses"
            )
        return found

    def value(self, expression: str) -> str:
        """Return the value of an expression, as it is printed."""
        return self._link.ask(f"print({expression})")

    def do(self, script: str) -> None:
        """Run a script.

        Raises
        ------
        BoardError
            If there are errors after it.
        LinkLostError
        """
        count = self._link.ask(f"{script} print(errorqueue.count)")
        if float(count):
            raise BoardError(f"the {self._models[0]} reports {'; '.join(self.errors())} after {script[:80]!r}")

    def errors(self) -> list[str]:
        """Empty the error queue."""
        found: list[str] = []
        while len(found) < _MOST_ERRORS:
            code, *words = self.value("errorqueue.next()").split("\t")
            if not float(code):
                break
            found.append(f"{float(code):.0f} {words[0] if words else ''}")
        return found
