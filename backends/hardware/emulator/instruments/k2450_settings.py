"""Settings of the 2450 that are a value within limits, as data: pattern, key, kind of value, default."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from rpudriver.backends.hardware.emulator.instruments.scpi import boolean, choice, number, show, unquoted
from rpudriver.backends.hardware.emulator.instruments.status import CommandError

VOLT_RANGES = (0.02, 0.2, 2.0, 20.0, 200.0)
AMPERE_RANGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
OHM_RANGES = (20.0, 200.0, 2e3, 2e4, 2e5, 2e6, 2e7, 2e8)

Value = float | bool | str


@final
@dataclass(frozen=True)
class Setting:
    """A command with its query.

    Attributes
    ----------
    low, high : limits of a number.
    ranges : a number is rounded up to one of these.
    words : a choice of words, in place of a number.
    switch : ON or OFF, in place of a number.
    quotes : the answer is quoted.
    """

    pattern: str
    key: str
    default: Value
    low: float = 0.0
    high: float = 0.0
    ranges: Sequence[float] = ()
    words: Sequence[str] = ()
    switch: bool = False
    quotes: bool = False

    def parse(self, text: str) -> Value:
        """Return the value that a parameter says."""
        if self.switch:
            return boolean(text)
        if self.words:
            return choice(unquoted(text).upper().removesuffix(":DC"), self.words)
        value = number(text, self.low, self.high)
        if self.ranges:
            for span in self.ranges:
                if abs(value) <= span * 1.05:
                    return span
            raise CommandError(-222, text)
        return value

    def show(self, value: Value) -> str:
        """Return a value as the query does."""
        if isinstance(value, str):
            name = {"CURR": "CURR:DC", "VOLT": "VOLT:DC"}.get(value, value)
            return f'"{name}"' if self.quotes else value
        return str(int(value)) if self.switch else show(value)


def _source(word: str, short: str, limit: str, other: Sequence[float], span: Sequence[float]) -> list[Setting]:
    most, other_most = span[-1] * 1.05, other[-1] * 1.05
    root = f":SOURce[1]:{word}"
    limit_default = 1.05e-4 if short == "VOLT" else 21.0
    return [
        Setting(f"{root}[:LEVel][:IMMediate][:AMPLitude]", f"{short}.level", 0.0, -most, most),
        Setting(f"{root}:RANGe", f"{short}.range", span[0], -most, most, ranges=span),
        Setting(f"{root}:RANGe:AUTO", f"{short}.autorange", True, switch=True),
        Setting(f"{root}:{limit}[:LEVel]", f"{short}.limit", limit_default, other[0] / 10, other_most),
        Setting(f"{root}:DELay", f"{short}.delay", 0.0, 0, 1e4),
        Setting(f"{root}:DELay:AUTO", f"{short}.autodelay", True, switch=True),
        Setting(f"{root}:READ:BACK", f"{short}.readback", True, switch=True),
        Setting(f"{root}:HIGH:CAPacitance", f"{short}.capacitance", False, switch=True),
        Setting(f":OUTPut[1]:{word}:SMODe", f"{short}.off", "NORM", words=("NORMal", "HIMPedance", "ZERO", "GUARd")),
    ]


def _sense(word: str, short: str, span: Sequence[float]) -> list[Setting]:
    root = f"[:SENSe[1]]:{word}[:DC]"
    most = span[-1] * 1.05
    return [
        Setting(f"{root}:RANGe[:UPPer]", f"sense.{short}.range", span[-1], -most, most, ranges=span),
        Setting(f"{root}:RANGe:AUTO", f"sense.{short}.autorange", True, switch=True),
        Setting(f"{root}:NPLCycles", f"sense.{short}.nplc", 1.0, 0.01, 10),
        Setting(f"{root}:RSENse", f"sense.{short}.remote", False, switch=True),
        Setting(f"{root}:AZERo[:STATe]", f"sense.{short}.autozero", True, switch=True),
        Setting(f"{root}:AVERage[:STATe]", f"sense.{short}.average", False, switch=True),
        Setting(f"{root}:AVERage:TCONtrol", f"sense.{short}.filter", "REP", words=("REPeat", "MOVing")),
        Setting(f"{root}:AVERage:COUNt", f"sense.{short}.averages", 10, 1, 100),
    ]


SETTINGS: list[Setting] = [
    *_source("VOLTage", "VOLT", "ILIMit", AMPERE_RANGES, VOLT_RANGES),
    *_source("CURRent", "CURR", "VLIMit", VOLT_RANGES, AMPERE_RANGES),
    *_sense("VOLTage", "VOLT", VOLT_RANGES),
    *_sense("CURRent", "CURR", AMPERE_RANGES),
    *_sense("RESistance", "RES", OHM_RANGES),
    Setting(":SOURce[1]:FUNCtion[:MODE]", "function", "VOLT", words=("VOLTage", "CURRent")),
    Setting(
        "[:SENSe[1]]:FUNCtion[:ON]", "sense.function", "CURR", words=("VOLTage", "CURRent", "RESistance"), quotes=True
    ),
    Setting("[:SENSe[1]]:COUNt", "sense.count", 1, 1, 300_000),
    Setting(":ROUTe:TERMinals", "terminals", "FRON", words=("FRONt", "REAR")),
    Setting(":FORMat[:DATA]", "format", "ASC", words=("ASCii", "REAL", "SREal")),
    Setting(":FORMat:ASCii:PRECision", "precision", 0, 0, 16),
    Setting(":FORMat:BORDer", "order", "SWAP", words=("NORMal", "SWAPped")),
]
