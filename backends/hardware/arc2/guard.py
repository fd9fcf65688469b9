"""The voltage guard: every call of a batch is held against the chip's envelope before the library sees any of them.

The library clips what is beyond 10 V without a word, and lengthens short pulses; here either is an error.
"""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np

from rpudriver.backends.hardware.arc2.calls import CLUSTER, Bias, Call, Delay, Fire, Program, Sense
from rpudriver.backends.hardware.arc2.wiring import (
    LARGEST_VOLTS,
    LONGEST_NS,
    SHORTEST_NS,
    Wiring,
)
from rpudriver.errors import BoardError

VOLTS_PER_CODE = 3.05179e-4  # of the library, which rounds (volts + 10) / 3.05179e-4 in single precision
SLACK = 1e-6  # volts: sums of rails are not exact in binary


@functools.lru_cache(maxsize=4096)  # a batch has few levels and many lines
def code(volts: float) -> int:
    """Return the code of ArC TWO's converter for volts."""
    return round(float((np.float32(volts) + np.float32(LARGEST_VOLTS)) / np.float32(VOLTS_PER_CODE)))


def rises(volts: float) -> bool:
    """Tell which polarity a pulse from 0 V has: the library takes one that stays where it is for a falling one."""
    return code(volts) > code(0.0)


@final
@dataclass(frozen=True)
class Guard:
    """What no call may exceed: volts on a line, across a device and of a read, and the width of a pulse in ns.

    Half-selected devices may see a code of the converter more than `half_volts`: resting lines rise by that much.
    """

    wiring: Wiring
    line_volts: float
    cell_volts: float
    half_volts: float  # across a device that is not selected
    read_volts: float
    width_ns: int
    total_ns: int

    def check(self, program: Program) -> None:
        """Raise `BoardError` for the first call that is out of bounds; nothing was sent then."""
        total = 0
        for position, call in enumerate(program):
            problem = self._problem(call)
            if problem:
                raise BoardError(f"ArC TWO, call {position}: {problem}; nothing was sent")
            total += call.nanos if isinstance(call, Delay) else 0  # it follows each pulse and is as long
        if total > self.total_ns:
            raise BoardError(
                f"ArC TWO: the pulses and waits last {total} ns, {self.total_ns} are armed; send less at once"
            )

    def _problem(self, call: Call) -> str | None:
        match call:
            case Fire():
                return self._volts(call.volts, self.line_volts) or self._pulse(call)
            case Bias():
                return self._volts(call.volts, self.read_volts)
            case Sense():
                return self._channels(call.channels)
            case Delay():
                return None if call.nanos >= 0 else f"a delay of {call.nanos} ns"

    def _channels(self, channels: tuple[int, ...]) -> str | None:
        known = self.wiring.rows + self.wiring.columns
        strange = [channel for channel in channels if channel not in known]
        return f"channels {strange} are not wired to this chip" if strange else None

    def _volts(self, volts: tuple[tuple[int, float], ...], most: float) -> str | None:
        most = min(most, LARGEST_VOLTS)
        for channel, value in volts:
            if not (math.isfinite(value) and abs(value) <= most + SLACK):
                return f"{value:g} V on channel {channel} is outside -{most:g} .. {most:g} V"
        channels = tuple(channel for channel, _ in volts)
        return self._channels(channels) or (None if len(set(channels)) == len(channels) else "a channel is named twice")

    def _pulse(self, call: Fire) -> str | None:
        volts, longest = dict(call.volts), min(self.width_ns, LONGEST_NS)
        if not SHORTEST_NS <= call.nanos <= longest:
            return f"a pulse of {call.nanos} ns is outside {SHORTEST_NS} .. {longest} ns"
        rows = [channel for channel in self.wiring.rows if channel in volts]
        columns = [channel for channel in self.wiring.columns if channel in volts]
        for row_fires, column_fires in itertools.product((True, False), repeat=2):
            some = [volts[channel] for channel in rows if (channel in call.active) == row_fires]
            others = [volts[channel] for channel in columns if (channel in call.active) == column_fires]
            worst = max(max(some) - min(others), max(others) - min(some)) if some and others else 0.0
            if row_fires and column_fires:
                what, most, slack = "a device", self.cell_volts, SLACK
            else:
                what, most, slack = "a half-selected device", self.half_volts, SLACK + VOLTS_PER_CODE
            if worst > most + slack:
                return f"{worst:g} V across {what} is beyond {most:g} V"
        return self._polarity(call)

    def _polarity(self, call: Fire) -> str | None:
        polarity: dict[int, bool] = {}
        for channel, value in call.volts:
            if polarity.setdefault(channel // CLUSTER, rises(value)) != rises(value):
                return f"channel {channel} at {value:g} V pulses the other way than others of its cluster of {CLUSTER}"
        return None
