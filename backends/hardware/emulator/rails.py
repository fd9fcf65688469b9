"""What a board drives an emulated array with, and how strongly devices answer to volts."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rpudriver.backends.hardware.profile import ChipProfile

Floats = npt.NDArray[np.float32]
Volts64 = npt.NDArray[np.float64]
Masks = npt.NDArray[np.uint8]

NOTHING = 1e-6  # a weaker pulse is none: microvolts along a wire


class Rails(NamedTuple):
    """Volts of the rails and of the gates, and the current at which the comparator cuts the output.

    Where lines float, those that are not active are connected to nothing, and the rest rails mean nothing.
    """

    row_active: float = 0.0
    row_rest: float = 0.0
    column_active: float = 0.0
    column_rest: float = 0.0
    gate: float = 0.0
    compliance: float = 0.0
    floating: bool = False


class Volts(NamedTuple):
    """Across a device whose row and column are active, only the row, only the column, neither."""

    selected: float
    row_only: float
    column_only: float
    neither: float

    @classmethod
    def of(cls, rails: Rails) -> "Volts":
        """Return what devices see where this is the same for all; with gates, only active rows conduct.

        A line that floats next to gates takes the potential of the active rows, whose devices are all it has.
        """
        row, row_rest, column, column_rest = rails[:4]
        if rails.gate:
            return cls(row - column, 0.0 if rails.floating else row - column_rest, 0.0, 0.0)
        return cls(row - column, row - column_rest, row_rest - column, row_rest - column_rest)


class Fired(NamedTuple):
    """Slots with the same rails: masks of rows and columns ``[count, bytes]``."""

    rails: Rails
    width_ns: int
    rows: Masks
    columns: Masks

    @property
    def law(self) -> tuple[Rails, int]:
        """What slots must share to be applied together."""
        return self.rails, self.width_ns

    def lines(self, rows: int, columns: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return which rows and columns are active in each slot, ``[count, rows]`` and ``[count, columns]``."""
        return (
            np.unpackbits(self.rows, axis=1, count=rows, bitorder="little").astype(np.bool_),
            np.unpackbits(self.columns, axis=1, count=columns, bitorder="little").astype(np.bool_),
        )

    def first(self, count: int) -> "Fired":
        """Return the first slots."""
        return self._replace(rows=self.rows[:count], columns=self.columns[:count])


@dataclass(frozen=True)
class Switching:
    """How strongly a pulse acts by its volts and width: nothing below a threshold, in proportion to what is beyond it.

    ``strength = width / width_0 * (|v| - v_th) / (|v_0| - v_th)``, with an update pulse of the profile as 1. The
    threshold is what makes ``set`` as strong as the profile says, or `DEFAULT` of the update's volts without one.
    Below it a device is disturbed, if at all: in full from a third of the update's volts on, the least with which a
    scheme half-selects on purpose, and in proportion to the volts below that.
    """

    width_ns: float
    up: tuple[float, float]  # volts of an update pulse and threshold
    down: tuple[float, float]
    disturb: float  # strength of a pulse below the threshold, at most

    DEFAULT = 0.75

    @classmethod
    def of(cls, profile: ChipProfile, disturb: float) -> "Switching":
        """Return the law that belongs to a chip profile."""
        update = profile.kinds["update"]

        def threshold(volts: float, stronger: str, other: float) -> float:
            kind = profile.kinds.get(stronger)
            if kind is None or abs(other) <= volts:
                return cls.DEFAULT * volts
            ratio = kind.strength * update.width_s / kind.width_s
            found = (ratio * volts - abs(other)) / (ratio - 1) if ratio > 1 else 0.0
            return found if 0 < found < volts else cls.DEFAULT * volts

        sets, resets = profile.kinds.get("set"), profile.kinds.get("reset")
        up, down = update.volts_up, -update.volts_down
        return cls(
            update.width_s * 1e9,
            (up, threshold(up, "set", 0.0 if sets is None else sets.volts_up)),
            (down, threshold(down, "reset", 0.0 if resets is None else resets.volts_down)),
            disturb,
        )

    def strength(self, volts: float, width_ns: float) -> float:
        """Return the strength of a pulse in update pulses, never negative."""
        return float(self.strengths(np.array([volts]), width_ns)[0])

    def strengths(self, volts: Volts64, width_ns: float) -> Volts64:
        """Return the strength of a pulse for each of some volts."""
        nominal = np.where(volts > 0, self.up[0], self.down[0])
        threshold = np.where(volts > 0, self.up[1], self.down[1])
        beyond = (np.abs(volts) - threshold) / (nominal - threshold)
        disturbed = self.disturb * np.minimum(1.0, np.abs(volts) / (nominal / 3))
        strength = width_ns / self.width_ns * np.where(beyond > 0, beyond, disturbed)
        strength = np.where(strength < NOTHING, 0.0, strength)
        return np.where(np.abs(strength - 1) < 1e-5, 1.0, strength)  # codes of converters are not exact volts
