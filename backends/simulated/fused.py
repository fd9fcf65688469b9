"""A mini-batch on a bank in one compiled call, or in two where its kernel takes several threads or is not compiled yet.

Step by step, the same takes a dozen calls and as many small arrays, which cost more than the work of a sparse update.
"""

from typing import Any, final

import numpy as np
import torch

from rpudriver.backends.counting import Tally
from rpudriver.backends.simulated import native, products
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.kernels.batch import run
from rpudriver.backends.simulated.kernels.pieces import Memory, pieces_in, room
from rpudriver.backends.updates import Bounds, Update
from rpudriver.keyed import threads
from rpudriver.trains import NANOSECONDS

LARGEST = 2**21  # pulses on all lines that memory is kept for
MOST_SHAPES = 64  # for which memory is kept
NO_READ = 0, *[np.float32(0)] * 2, np.uint64(0), np.zeros(3, np.uint32), 0, np.zeros(products.SCALES, np.float32)


@final
class Workspace:
    """Memory for the trains of mini-batches, kept from one to the next."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int, int], Memory] = {}

    def of(self, samples: int, max_bl: int, n_in: int, n_out: int) -> Memory:
        """Return what `pieces.room` returns."""
        key = samples, max_bl, n_in, n_out
        known = self._kept.get(key)
        if known is None:
            if len(self._kept) >= MOST_SHAPES:
                self._kept.clear()
            known = self._kept[key] = room(*key)
        return known


def takes(bank: Bank, update: Update) -> bool:
    """Return whether an update can be done so: on the CPU, small, not worth a second thread while trains are drawn."""
    x, d = update.x, update.d
    samples, lines = x.shape[0], x.shape[1] + d.shape[1]
    if not (0 < samples <= native.SAMPLES_AT_ONCE and samples * lines * update.drawing.max_bl <= LARGEST):
        return False
    if NANOSECONDS * samples * lines > threads.WORTH_A_THREAD and torch.get_num_threads() > 1:
        return False
    return native.has_kernel(bank) and readable(x) and readable(d)


def readable(values: torch.Tensor) -> bool:
    """Return whether rows can be read at their address."""
    row, line = values.stride()
    plain = values.dtype is torch.float32 and values.is_cpu and not values.is_neg()
    return plain and line == 1 and row >= values.shape[1]


def apply(
    bank: Bank, update: Update, bounds: Bounds, strength: float, memory: Workspace, read: Any
) -> tuple[torch.Tensor, Tally, bool] | None:
    """Pulse a bank and return values of the columns, float32 ``[R, n_out]``, the tally, and whether they were read.

    Where they were not, values are what weights were, and still to be read. None, and nothing done, where the trains
    are out of bounds or cannot be drawn.

    Parameters
    ----------
    read : what `Periphery.column_read` returns, `NO_READ` where no columns are read.
    """
    _, x, d, drawing, source, number, (which, after), _ = update
    samples, (n_out, n_in) = x.shape[0], bank.shape
    own, stops = memory.of(samples, drawing.max_bl, n_in, n_out), np.empty(len(after), np.int32)
    bank.version += 1  # before: Ctrl-C may be heard as soon as devices have moved
    noted, call = np.empty((len(after), n_out), np.float32), native.call_of(bank, strength)
    good, done, tally, found = run(
        (x.data_ptr(), x.stride(0)),
        (d.data_ptr(), d.stride(0)),
        (samples, n_in, n_out),
        (source.signed_seed, source.numbers, number),
        (float(drawing.lr), float(drawing.dw_min), *drawing[2:]),
        tuple(bounds),  # half a microsecond less than as a named one
        (which, after),
        (*own, stops),
        noted,
        call.bank,
        call.scalars,
        call.addresses(),
        native.alone(),
        read,
    )
    if not good:
        return None
    if not done:
        native.apply_cut(bank, pieces_in(own, stops, found), strength, which, noted)
    return torch.from_numpy(noted), Tally._make(tally), done
