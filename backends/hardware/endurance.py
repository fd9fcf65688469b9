"""Pulses that each device has had in its life, in a file that outlives the process, and a budget for them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self, final

import numpy as np
import numpy.typing as npt

from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import JournalError, LimitError
from rpudriver.keyed import native
from rpudriver.types import Placement, PulseTrains

Counts = npt.NDArray[np.int64]


class Wear(NamedTuple):
    """How much of the devices' endurance is used up: pulses of all, of the most used one, where it is, the budget."""

    total: int
    most: int
    where: str
    budget: int


@native.compiled
def _count(x_words, d_words, counts):  # type: ignore[no-untyped-def]
    """Add the pulses that each device sees, ``[n_out, n_in]``."""
    for b in range(len(x_words)):
        for i in range(d_words.shape[1]):
            for word in range(d_words.shape[2]):
                row = d_words[b, i, word]
                if row != 0:
                    for j in range(x_words.shape[1]):
                        counts[i, j] += native.popcount(np.uint32(row & x_words[b, j, word]))


def pulses_of(trains: PulseTrains) -> Counts:
    """Return how many pulses trains put on each device, ``[n_out, n_in]``."""
    x_words, d_words, *_ = trains.arrays
    counts = np.zeros((d_words.shape[1], x_words.shape[1]), np.int64)
    _count(x_words, d_words, counts)
    return counts


@final
class DeviceCounters:
    """Counters ``[arrays, rows, columns]``, in memory that is a file: what was counted survives a killed process."""

    def __init__(self, counts: npt.NDArray[np.int64], budget: int, power: bool) -> None:
        self._counts, self._budget, self._power = counts, budget, power

    @classmethod
    def open(cls, path: Path, profile: ChipProfile, power: bool = False) -> Self:
        """Return the counters of a chip; a new file starts at zero.

        Parameters
        ----------
        power : have them survive a power cut as well.

        Raises
        ------
        JournalError
            If the file is of a chip of another size, or cannot be used.
        """
        shape = profile.arrays, profile.rows, profile.columns
        try:
            if not path.exists():
                new = path.with_suffix(".new")
                np.lib.format.open_memmap(new, "w+", np.int64, shape).flush()
                new.replace(path)
            np.lib.format.open_memmap(path, "r")  # refuses half a file, which "r+" would fill up with zeros
            _reserve(path)
            counts = np.lib.format.open_memmap(path, "r+")
        except (OSError, ValueError) as error:
            raise JournalError(f"the pulse counters {path} cannot be used: {error}; put a good copy in place") from None
        if counts.shape != shape or counts.dtype != np.int64:
            raise JournalError(
                f"the pulse counters {path} are of {counts.shape} devices, the chip profile of {shape}; "
                "give another chip another name"
            )
        return cls(counts, profile.envelope.device_pulses, power)

    def admit(self, wanted: Iterable[tuple[Placement, PulseTrains, int]]) -> None:
        """Refuse pulses, placed trains and how often, that would take a device beyond its budget; counts nothing.

        Raises
        ------
        LimitError
            Naming the device.
        """
        planned: dict[Placement, Counts] = {}
        for place, trains, repeat in wanted:
            counts = pulses_of(trains) * repeat
            planned[place] = planned[place] + counts if place in planned else counts
        for place, counts in planned.items():
            after = self._at(place, counts) + counts
            if after.max(initial=0) > self._budget:
                row, column = np.unravel_index(after.argmax(), after.shape)
                raise LimitError(
                    f"device {_name(place.array, place.row + row, place.column + column)} would have had "
                    f"{after.max():,} pulses, {self._budget:,} are its budget (device_pulses of the chip's envelope); "
                    "place the array elsewhere, or raise the budget if the device bears more"
                )

    def add(self, place: Placement, trains: PulseTrains, repeat: int) -> None:
        """Count pulses that are about to be sent."""
        counts = pulses_of(trains)
        self._at(place, counts)[...] += counts * repeat
        if self._power:
            self._flush()

    def at(self, place: Placement, shape: tuple[int, int]) -> Counts:
        """Return the counters of a rectangle, a copy."""
        return self._at(place, np.empty(shape, np.int64)).copy()

    def _at(self, place: Placement, like: Counts) -> Counts:
        rows, columns = like.shape
        return self._counts[place.array, place.row : place.row + rows, place.column : place.column + columns]

    def wear(self) -> Wear:
        """Return how much is used up."""
        array, row, column = np.unravel_index(self._counts.argmax(), self._counts.shape)
        most = int(self._counts[array, row, column])
        return Wear(int(self._counts.sum()), most, _name(array, row, column), self._budget)

    def close(self) -> None:
        """Write what is in memory; closing twice is harmless."""
        self._flush()

    def _flush(self) -> None:
        if isinstance(self._counts, np.memmap):
            try:
                self._counts.flush()
            except OSError as error:
                raise JournalError(
                    f"the pulse counters cannot be written: {error}; see to the disk, nothing more is sent"
                ) from error


def _reserve(path: Path) -> None:
    """Take room on the disk for all of a file: a full disk is found now, where counting would end the process."""
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _name(array: Any, row: Any, column: Any) -> str:
    return f"array {array} row {row} column {column}"
