"""How long steps take on a chip that serves one device at a time: it is led to, pulsed or read, then the next."""

from typing import final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.counting import tally
from rpudriver.backends.numbering import Numbered, expand
from rpudriver.types import Cell, Placement, Port, Pulse, PulseTrains, Read, Scan, Step

Places = npt.NDArray[np.int64]  # [n, 2]: rows and columns in a rectangle, in the order of their turns


@final
class Turns:
    """Remembers which device is led to, for it takes time to lead to another one."""

    def __init__(self) -> None:
        self._at: Placement | None = None

    def release(self) -> None:
        """Nothing is led to any more."""
        self._at = None

    def seconds(self, step: Step, chip: Capabilities) -> float:
        """Return how long the pulses and reads of a step take; its last device remains led to.

        Rectangles have their turns one after the other, those of a pair too. Devices that are pulsed follow row by
        row, devices that are read input by input; those without a pulse and inputs whose code is 0 are left out.
        """
        match step:
            case Pulse():
                kind, places = chip.kinds[step.kind], np.argwhere(_pulsed_devices(step.trains))
                pulses = step.repeat * tally(step.trains).coincidences
                return sum(
                    pulses * (kind.width_s + chip.slot_gap_s) + chip.switch_time_s * self._visit(part, places)
                    for part in pulsed_parts(step)
                )
            case Read():
                places, readings = _read_devices(step, chip.input_bits)
                return sum(
                    readings * chip.read_time_s + chip.switch_time_s * self._visit(part, places)
                    for array, _ in step.terms
                    for part in array.parts
                )
            case Scan():
                return sum(self.seconds(part.step, chip) for part in expand(Numbered(step)))
        return 0.0

    def _visit(self, part: Placement, places: Places) -> int:
        """Return how often another device is led to."""
        if not len(places):
            return 0
        first, last = (Placement(part.array, part.row + int(i), part.column + int(j)) for i, j in places[[0, -1]])
        stays, self._at = first == self._at, last
        return len(places) - stays


def pulsed_parts(step: Pulse | Scan) -> tuple[Placement, ...]:
    """Return the rectangles that a step's trains reach."""
    array = step.array
    if isinstance(step, Pulse) and step.port is Port.REFERENCE:
        return array.parts[1:]
    return array.parts if array.cell is Cell.PAIR else array.parts[:1]


def _pulsed_devices(trains: PulseTrains) -> npt.NDArray[np.bool_]:
    """Return which devices ``[n_out, n_in]`` see a pulse."""
    x, d, *_ = trains.arrays
    found = np.zeros((d.shape[1], x.shape[1]), bool)
    for columns, rows in zip(x, d, strict=True):  # a sample at a time, [lines, words]
        found |= (rows[:, None] & columns[None]).any(-1)
    return found


def _read_devices(step: Read, input_bits: int | None) -> tuple[Places, int]:
    """Return the places of a rectangle that are read, and how many readings that makes."""
    (array, _), x = step.terms[0], step.x.detach()
    driven = x if input_bits is None else torch.round(x * (2 ** (input_bits - 1) - 1))
    vectors = (driven != 0).sum(0).cpu().numpy()  # in which an input is driven
    lines, outputs = np.flatnonzero(vectors), array.n_in if step.transposed else array.n_out
    places = np.stack([np.tile(np.arange(outputs), len(lines)), np.repeat(lines, outputs)], 1)
    return places[:, ::-1] if step.transposed else places, int(vectors.sum()) * outputs
