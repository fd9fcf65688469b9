"""The source-measure unit that pulses and reads: a Keithley 2450 in its SCPI language (manual 2450-901-01).

Pulses are a trigger model that runs inside the instrument, reads a list sweep. Both end with the output off by
themselves, whatever becomes of the host.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.errors import BoardError

LEVELS, TRIPS, READINGS = "rpulevels", "rputrips", "rpureadings"  # a configuration list and two buffers
LISTED = 100  # voltages in one command
LIMITED = 32  # bit of a reading's source status
_MOST_ERRORS = 64


class Shape(NamedTuple):
    """One pulse: number of its level, seconds on and off."""

    level: int
    width: float
    gap: float


@final
class Source:
    """A 2450 that drives a voltage and measures the current."""

    model = "MODEL 2450"

    def __init__(self, link: Link) -> None:
        self._link = link
        self._shape: Shape | None = None  # of the trigger model that is loaded
        self._aperture = 0.0

    def meet(self) -> str:
        """Return who answers; nothing is changed.

        Raises
        ------
        BoardError
            If it is another instrument, or one that speaks another language.
        LinkLostError
        """
        found = self._link.ask("*IDN?")
        if self.model not in found:
            raise BoardError(f"{self._link.address} is {found!r}, not a Keithley 2450: exchange the addresses")
        language = self._link.ask("*LANG?")
        if language != "SCPI":
            raise BoardError(f"the 2450 at {self._link.address} speaks {language}: send *LANG SCPI and restart it")
        return found

    def output_on(self) -> bool:
        """Tell whether its output is on."""
        return self._link.ask(":OUTP?") != "0"

    def prepare(self, levels: Sequence[float], most_read: float, amperes: float, aperture: float) -> None:
        """Set ranges and limits, which hold in the instrument by themselves, and the levels of pulses.

        Parameters
        ----------
        levels : volts of the levels after the first, which is rest.
        most_read : largest volts of reads.
        amperes : current limit, and range of measurements.
        aperture : seconds of one measurement.

        Raises
        ------
        BoardError
            If the instrument refuses one of them, or sets something else.
        LinkLostError
        """
        most = max([most_read, *map(abs, levels)])
        self._shape, self._aperture = None, aperture
        self._do('*RST;*CLS;:SOUR:FUNC VOLT;:SENS:FUNC "CURR"')
        cycles = aperture * float(self._ask(":SYST:LFR?")[0])
        self._do(f":SOUR:VOLT:RANG {most:.6g};ILIM {amperes:.6g};READ:BACK OFF;:SOUR:VOLT:DEL 0")
        self._do(f":SENS:CURR:RANG {amperes:.6g};NPLC {cycles:.6g}")
        self._do(f':TRAC:MAKE "{TRIPS}",10;:TRAC:MAKE "{READINGS}",2500;:SOUR:CONF:LIST:CRE "{LEVELS}"')
        for volts in [0.0, *levels, 0.0]:  # rest is what remains set
            self._do(f':SOUR:VOLT {volts:.6g};:SOUR:CONF:LIST:STOR "{LEVELS}"')
        span, limit, function = self._ask(":SOUR:VOLT:RANG?;ILIM?;:SOUR:FUNC?")
        if not most <= 1.05 * float(span) or abs(float(limit) / amperes - 1) > 1e-3 or function != "VOLT":
            raise BoardError(
                f"the 2450 has a range of {span} V and a limit of {limit} A, not {most:g} V and {amperes:g} A: "
                "choose values that it can set"
            )

    def pulse(self, shape: Shape, count: int) -> bool:
        """Do pulses inside the instrument; return whether its limit held one, which ends them.

        Raises
        ------
        BoardError, LinkLostError
        """
        if shape != self._shape:
            self._do(_model(shape))
            self._shape = shape
        query = f':TRIG:BLOC:BRAN:COUN 9,{count},4;:INIT;*WAI;:TRAC:ACT? "{TRIPS}"'
        return self._ask(query, 1.1 * count * (shape.width + shape.gap))[0] != "0"

    def read(self, volts: Sequence[float]) -> tuple[list[float], bool]:
        """Return amperes at one voltage after the other, and whether the limit held one of them.

        Raises
        ------
        BoardError, LinkLostError
        """
        self._shape = None  # a sweep takes the place of the trigger model
        for first in range(0, len(volts), LISTED):
            listed = ",".join(f"{value:.6g}" for value in volts[first : first + LISTED])
            message = f":SOUR:LIST:VOLT{':APP' if first else ''} {listed}"
            if first + LISTED < len(volts):
                self._do(message)
        query = (
            f'{message};:SOUR:SWE:VOLT:LIST 1,0,1,OFF,"{READINGS}";:INIT;*WAI;'
            f':TRAC:DATA? 1,{len(volts)},"{READINGS}",READ,SOURSTAT'
        )
        found = self._ask(query, 2 * self._aperture * len(volts))[0].split(",")
        if len(found) != 2 * len(volts):
            raise BoardError(f"the 2450 gave {len(found)} values for {len(volts)} readings; use firmware 1.6 or later")
        limited = any(int(status) & LIMITED for status in found[1::2])
        return [float(value) for value in found[::2]], limited

    def rest(self) -> None:
        """Switch the output off, whatever was going on."""
        self._shape = None
        self._link.ask(":ABOR;:OUTP OFF;:SOUR:VOLT 0;*OPC?")

    def errors(self) -> list[str]:
        """Empty the error queue."""
        found: list[str] = []
        while len(found) < _MOST_ERRORS and not (error := self._link.ask(":SYST:ERR?")).startswith(("0,", "+0,")):
            found.append(error)
        return found

    def _do(self, message: str) -> None:
        self._ask(f"{message};*OPC?")

    def _ask(self, message: str, seconds: float = 0.0) -> list[str]:
        """Return the answers to a message, if the error queue is empty after it."""
        *answers, errors = self._link.ask(f"{message};:SYST:ERR:COUN?", seconds).split(";")
        if errors != "0":
            raise BoardError(f"the 2450 reports {'; '.join(self.errors())} after {message[:80]!r}")
        return answers


def _model(shape: Shape) -> str:
    """Return the trigger model of a pulse train: block 9 counts the pulses, 11 to 14 end it if the limit is hit."""
    blocks = [
        f'BUFF:CLE 1,"{TRIPS}"',
        f'CONF:REC 2,"{LEVELS}",1',
        "SOUR:STAT 3,ON",
        f'CONF:REC 4,"{LEVELS}",{shape.level + 1}',
        f"DEL:CONS 5,{shape.width:.6g}",
        "BRAN:EVEN 6,SLIM,11",
        f'CONF:REC 7,"{LEVELS}",1',
        f"DEL:CONS 8,{shape.gap:.6g}",
        "BRAN:COUN 9,1,4",
        "BRAN:ALW 10,13",
        f'CONF:REC 11,"{LEVELS}",1',
        f'MDIG 12,"{TRIPS}"',
        "SOUR:STAT 13,OFF",
    ]
    return ':TRIG:LOAD "Empty";' + ";".join(f":TRIG:BLOC:{block}" for block in blocks)
