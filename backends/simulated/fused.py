"""A mini-batch on a bank in two compiled calls: one draws and prepares its trains, one applies them.

Step by step, the same takes a dozen calls and as many small arrays, which cost more than the work of a sparse update.
"""

from typing import final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.counting import Tally
from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.kernels.pieces import SLOTS, Pieces
from rpudriver.backends.simulated.kernels.prepare import prepare
from rpudriver.backends.updates import Bounds, Update
from rpudriver.keyed import threads
from rpudriver.trains import NANOSECONDS

LARGEST = 2**21  # pulses on all lines that memory is kept for
MOST_SHAPES = 64  # for which memory is kept


_Ints = npt.NDArray[np.int32]
_Words = npt.NDArray[np.uint32]
_Memory = tuple[_Ints, _Ints, _Words, _Words, _Ints, _Words]


@final
class Workspace:
    """Memory for the trains of mini-batches, kept from one to the next."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int, int, int], _Memory] = {}

    def of(self, samples: int, n_in: int, n_out: int, max_bl: int) -> _Memory:
        """Return start, entries, words and columns of `Pieces`, and what `slots_of` fills, each as long as may be."""
        key = samples, n_in, n_out, max_bl
        known = self._kept.get(key)
        if known is None:
            if len(self._kept) >= MOST_SHAPES:
                self._kept.clear()
            pieces = samples * -(-max_bl // SLOTS)
            counts = n_out + 1, pieces * n_out + 1, SLOTS * pieces + 1
            start, entries, slots = (np.empty(count, np.int32) for count in counts)
            words, columns = np.empty(pieces * n_out + 1, np.uint32), np.empty((pieces, n_in), np.uint32)
            fired = np.empty(samples * n_in * max_bl, np.uint32)
            known = self._kept[key] = start, entries, words, columns, slots, fired
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
    bank: Bank, update: Update, bounds: Bounds, strength: float, memory: Workspace
) -> tuple[torch.Tensor, Tally] | None:
    """Pulse a bank and return the columns noted, float32 ``[R, n_out]``, and the tally of the trains.

    None, and nothing done, where the trains are out of bounds or cannot be drawn.
    """
    _, x, d, drawing, source, number, (which, after), _ = update
    samples, (n_out, n_in) = x.shape[0], bank.shape
    start, entries, words, columns, slots, fired = memory.of(samples, n_in, n_out, drawing.max_bl)
    stops = np.empty(len(after), np.int32)
    good, tally, used, pieces, coincidences = prepare(
        (x.data_ptr(), x.stride(0)),
        (d.data_ptr(), d.stride(0)),
        (samples, n_in, n_out),
        (np.uint64(source.seed), source.streams, np.uint64(number)),
        (float(drawing.lr), float(drawing.dw_min), *drawing[2:]),
        bounds,
        after,
        start,
        entries,
        words,
        columns,
        stops,
        slots,
        fired,
    )
    if not good:
        return None
    cut = Pieces(start, entries[:used], words, columns[:pieces], coincidences, stops)
    noted = np.empty((len(after), n_out), np.float32)
    bank.version += 1
    native.apply_cut(bank, cut, (slots, fired), strength, which, noted)
    return torch.from_numpy(noted), Tally._make(tally)
