"""The pulsed update of a mini-batch, said in one piece: trains to be drawn, and columns read in between.

It is what `draw_trains` and a `Scan` or `Pulse` say. A chip may have a way of its own to do both at once; every other
one gets the step that it stands for.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.counting import Tally
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Array, Pulse, PulseTrains, Scan


class Places(NamedTuple):
    """Where columns are read: ``columns[r]`` after the first ``after[r]`` samples, int64 arrays ``[R]``."""

    columns: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]


NOWHERE = Places(np.zeros(0, np.int64), np.zeros(0, np.int64))


class Drawing(NamedTuple):
    """How trains are drawn; see `draw_trains`."""

    lr: float
    dw_min: float
    max_bl: int
    update_management: bool
    bl_management: bool


class Update(NamedTuple):
    """Pulse an array with trains for ``lr * d x^T``, and read single columns in between as a `Scan` does.

    Attributes
    ----------
    array : Array
    x, d : float tensors ``[B, n_in]`` and ``[B, n_out]``
    drawing : Drawing
    source, first : where the trains draw from, and the number of the first sample.
    reads, amplitude : the columns that are read, with which input; none by default.
    """

    array: Array
    x: torch.Tensor
    d: torch.Tensor
    drawing: Drawing
    source: TrainSource
    first: int
    reads: Places = NOWHERE
    amplitude: float = 1.0

    def draw(self) -> PulseTrains:
        """Return its trains.

        Raises
        ------
        StepError
            If x or d hold NaN or infinities, or a setting is out of range.
        """
        return draw_trains(self.x, self.d, **self.drawing._asdict(), source=self.source, first=self.first)

    def step(self) -> Scan | Pulse:
        """Return the step that it stands for: a `Pulse` where nothing is to be read."""
        if not len(self.reads.columns):
            return Pulse(self.array, self.draw())
        columns, after = (torch.from_numpy(values) for values in self.reads)
        return Scan(self.array, self.draw(), columns, after, self.amplitude)


class Bounds(NamedTuple):
    """What trains of kind ``update`` must keep within, as compiled code takes it.

    Attributes
    ----------
    longest : bit length.
    device_pulses : that a step may put on one device.
    up, down : which ways pulses may go.
    """

    longest: int
    device_pulses: int
    up: bool
    down: bool

    def allow(self, tally: Tally) -> bool:
        """Return whether trains keep within."""
        short = tally.late < 0 and tally.longest <= self.longest and tally.total <= self.device_pulses
        return short and tally.up <= self.up and tally.down <= self.down


class Done(NamedTuple):
    """What a chip did of an update: the values that were read, ``[R, n_out]``, and the tally of the trains."""

    values: torch.Tensor
    tally: Tally
