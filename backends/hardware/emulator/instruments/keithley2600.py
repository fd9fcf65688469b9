"""A Keithley 2602B System SourceMeter in its TSP language (reference manual 2600BS-901-01): two channels.

Levels, limits, ranges and measurements are there; reading buffers and the trigger model are not.
"""

from collections.abc import Callable
from typing import Any, final

from rpudriver.backends.hardware.emulator.instruments.channel import Channel
from rpudriver.backends.hardware.emulator.instruments.status import CommandError
from rpudriver.backends.hardware.emulator.instruments.tsp import (
    Attribute,
    TspInstrument,
    limited,
    remembered,
    to_number,
)
from rpudriver.backends.hardware.emulator.wiring import Wiring

LINE_HZ = 50
VOLT_RANGES = (0.1, 1.0, 6.0, 40.0)
AMPERE_RANGES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0)
MOST_VOLTS, MOST_AMPERES = 40.4, 3.03
OVERFLOW = 9.91e37

Part = Callable[[str, dict[str, Any]], Any]


@final
class Keithley2602B(TspInstrument):
    """The 2602B of the bench; its smua drives the gates."""

    name = "2602B"
    model = "2602B"
    identity = "Keithley Instruments Inc., Model 2602B, 4602001, 3.3.5"

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self._smus = {name: Smu(name, wiring) for name in ("smua", "smub")}
        tables = {name: smu.table(self.part) for name, smu in self._smus.items()}
        self.offer(tables)
        self.offer({"node": self.array([self.part("node[1]", tables)])})

    def reset(self) -> None:
        for smu in self._smus.values():
            smu.reset()

    def pass_time(self, seconds: float) -> None:
        if not 0 <= seconds <= 1e5:
            raise CommandError(1101, f"delay {seconds:g}")
        for smu in self._smus.values():
            smu.channel.pass_time(seconds)


@final
class Smu:
    """One channel: ``smua`` or ``smub``."""

    def __init__(self, name: str, wiring: Wiring) -> None:
        self._name = name
        self.channel = Channel(wiring, name)
        self.reset()

    def reset(self) -> None:
        """Go back to the settings of a fresh start."""
        self._levels = {"voltage": 0.0, "current": 0.0}
        self._limits = {"voltage": 0.1, "current": MOST_VOLTS}
        self._ranges: dict[str, float] = {"sourcev": 40.0, "sourcei": 0.1, "i": 0.1, "v": 40.0}
        self._automatic: dict[str, float] = dict.fromkeys(self._ranges, 1.0)
        self._nplc = 1.0
        self.channel.set(output=False)
        self._apply("voltage")

    def _apply(self, function: str | None = None) -> None:
        now = function or self.channel.function
        self.channel.set(function=now, level=self._levels[now], limit=self._limits[now])

    # ---- attributes ---------------------------------------------------------------------------------------------

    def table(self, part: Part) -> Any:
        """Return what a script sees."""
        words = {"OUTPUT_DCAMPS": 0.0, "OUTPUT_DCVOLTS": 1.0, "OUTPUT_OFF": 0.0, "OUTPUT_ON": 1.0}
        words |= {"AUTORANGE_OFF": 0.0, "AUTORANGE_ON": 1.0, "SENSE_LOCAL": 0.0, "SENSE_REMOTE": 1.0}
        parts = {
            "source": part(f"{self._name}.source", self._source()),
            "measure": part(f"{self._name}.measure", self._measure()),
            "sense": remembered(0.0, 0, 3),
            "reset": lambda *_: self.reset(),
            "abort": lambda *_: None,
        }
        return part(self._name, parts | words)

    def _source(self) -> dict[str, Any]:
        return {
            "func": Attribute(lambda: float(self.channel.function == "voltage"), self._set_function),
            "output": Attribute(lambda: float(self.channel.output), self._set_output),
            "levelv": self._level("voltage", "sourcev", MOST_VOLTS),
            "leveli": self._level("current", "sourcei", MOST_AMPERES),
            "limiti": self._limit("voltage", 1e-8, MOST_AMPERES),
            "limitv": self._limit("current", 1e-2, MOST_VOLTS),
            "compliance": Attribute(lambda: self.channel.limited),
            "rangev": self._range("sourcev", VOLT_RANGES),
            "rangei": self._range("sourcei", AMPERE_RANGES),
            "autorangev": self._autorange("sourcev"),
            "autorangei": self._autorange("sourcei"),
            "delay": remembered(0.0, -1, 1e4),
            "offmode": remembered(0.0, 0, 2),
        }

    def _measure(self) -> dict[str, Any]:
        def set_nplc(value: float) -> None:
            self._nplc = value

        return {
            "nplc": limited(lambda: self._nplc, set_nplc, 0.001, 25),
            "delay": remembered(0.0, -1, 1e4),
            "autozero": remembered(2.0, 0, 2),
            "rangei": self._range("i", AMPERE_RANGES),
            "rangev": self._range("v", VOLT_RANGES),
            "autorangei": self._autorange("i"),
            "autorangev": self._autorange("v"),
            "i": lambda *_: self._read()[0],
            "v": lambda *_: self._read()[1],
            "r": lambda *_: self._resistance(),
            "iv": lambda *_: self._read(),
        }

    def _level(self, function: str, span: str, most: float) -> Attribute:
        def write(value: float) -> None:
            if not self._automatic[span] and abs(value) > 1.01 * self._ranges[span]:
                raise CommandError(1101, f"{value:g} beyond the source range of {self._ranges[span]:g}")
            self._levels[function] = value
            self._apply()

        return limited(lambda: self._levels[function], write, -most, most)

    def _limit(self, function: str, low: float, high: float) -> Attribute:
        def write(value: float) -> None:
            self._limits[function] = value
            self._apply()

        return limited(lambda: self._limits[function], write, low, high)

    def _range(self, key: str, spans: tuple[float, ...]) -> Attribute:
        def write(value: float) -> None:
            self._ranges[key] = next(span for span in spans if abs(value) <= span * 1.01)
            self._automatic[key] = 0.0

        return limited(lambda: self._ranges[key], write, -spans[-1], spans[-1])

    def _autorange(self, key: str) -> Attribute:
        return limited(lambda: self._automatic[key], lambda value: self._automatic.__setitem__(key, value), 0, 2)

    def _set_function(self, value: Any) -> None:
        functions = {1.0: "voltage", 0.0: "current"}
        if to_number(value) not in functions:
            raise CommandError(1115, f"source.func = {value}")
        self._apply(functions[to_number(value)])

    def _set_output(self, value: Any) -> None:
        if to_number(value) not in (0.0, 1.0, 2.0):
            raise CommandError(1115, f"source.output = {value}")
        self.channel.set(output=to_number(value) == 1.0)

    # ---- measuring ----------------------------------------------------------------------------------------------

    def _read(self) -> tuple[float, float]:
        """Return amperes and volts, or the overflow value beyond the measuring range."""
        with self.channel.programme():
            found = self.channel.measure(self._nplc / LINE_HZ, None if self._automatic["i"] else self._ranges["i"])
        return self._shown("i", found.amperes), self._shown("v", found.volts)

    def _shown(self, key: str, value: float) -> float:
        beyond = not self._automatic[key] and abs(value) > 1.02 * self._ranges[key]
        return OVERFLOW if beyond else value

    def _resistance(self) -> float:
        amperes, volts = self._read()
        return volts / amperes if amperes else OVERFLOW
