"""What a batch asks of ArC TWO: the only four things that the child process knows how to do, as plain data.

No other method of the library is ever called by a batch; `set_channel_range` in particular, whose extended range would
double every voltage, since voltages are scaled for 10 V whatever was chosen.
"""

from dataclasses import dataclass
from typing import final

CHANNELS = 64
CLUSTER = 8  # channels that share a pulse's polarity and width


@final
@dataclass(frozen=True)
class Fire:
    """Lines go to their volts for a time and back to 0 V; channels that are not named float."""

    volts: tuple[tuple[int, float], ...]  # (channel, volts)
    nanos: int
    active: frozenset[int]  # channels of the lines that fire; a device between two of them is selected


@final
@dataclass(frozen=True)
class Delay:
    """Time passes."""

    nanos: int


@final
@dataclass(frozen=True)
class Bias:
    """Channels go to their volts and stay there."""

    volts: tuple[tuple[int, float], ...]


@final
@dataclass(frozen=True)
class Sense:
    """The currents of channels, which are held at 0 V, are measured together."""

    channels: tuple[int, ...]


Call = Fire | Delay | Bias | Sense
Program = tuple[Call, ...]
