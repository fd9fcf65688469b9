"""A mini-batch on a bank of a CUDA device: trains are drawn, looked through, and applied, with one look at the result.

That is the same as `draw_trains` and a step, but nothing of the trains ever leaves the GPU.
"""

from typing import final

import numpy as np
import torch

from rpudriver.backends.counting import Tally
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.triton import turning
from rpudriver.backends.simulated.triton.update import apply_words
from rpudriver.backends.updates import Bounds, Update
from rpudriver.keyed.gpu_trains import FACTS, draw_words, look_through, room_for
from rpudriver.keyed.native import compiled

_KEPT = 64  # shapes of mini-batches that memory is kept for


@final
class Workspace:
    """Memory for the trains of mini-batches of one shape, used again and again on one stream."""

    def __init__(self, samples: int, n_in: int, n_out: int, words: int, where: torch.device) -> None:
        self.drawn = room_for(samples, n_in, n_out, words, where)
        self.turned = turning.room_for(samples * words, n_in, n_out, turning.GROUP, where)
        self._landed = torch.empty((samples, FACTS), dtype=torch.int64, pin_memory=where.type == "cuda")
        self._seen = self._landed.numpy()

    def facts(self) -> tuple[bool, Tally]:
        """Wait for what is known of the trains; return whether they could be drawn, and their tally."""
        self._landed.copy_(self.drawn.facts, non_blocking=True)
        if self.drawn.facts.is_cuda:
            torch.cuda.current_stream(self.drawn.facts.device).synchronize()
        good, tally = _added(self._seen)
        return good, Tally._make(tally)


_workspaces: dict[tuple[object, ...], Workspace] = {}


def apply(bank: Bank, update: Update, bounds: Bounds, strength: float) -> tuple[torch.Tensor, Tally] | None:
    """Pulse a bank and return the columns noted, float32 ``[R, n_out]``, and the tally of the trains.

    None, and nothing done, where the trains are out of bounds or cannot be drawn.
    """
    x, d, source, reads = update.x.detach(), update.d.detach(), update.source, update.reads
    work = _workspace(x, d, -(-update.drawing.max_bl // 32))
    draw_words(x, d, update.drawing, (source.seed, source.numbers, update.first), work.drawn)
    look_through(work.drawn)
    good, tally = work.facts()
    if not good or not bounds.allow(tally):
        return None
    columns = after = None
    if len(reads.columns):
        columns, after = (torch.from_numpy(np.ascontiguousarray(numbers)) for numbers in reads)
    bank.version += 1
    noted = apply_words(bank, work.drawn[:4], tally.longest, 1, strength, False, columns, after, work.turned)
    return torch.empty((0, bank.shape[0]), device=x.device) if noted is None else noted, tally


def _workspace(x: torch.Tensor, d: torch.Tensor, words: int) -> Workspace:
    """Return memory that no other stream works on."""
    stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else 0
    (samples, n_in), n_out = x.shape, d.shape[1]
    key = samples, n_in, n_out, words, x.device, stream
    known = _workspaces.get(key)
    if known is None:
        if len(_workspaces) >= _KEPT:
            _workspaces.clear()
        known = _workspaces[key] = Workspace(samples, n_in, n_out, words, x.device)
    return known


@compiled
def _added(facts):  # type: ignore[no-untyped-def]
    """Return whether no sample holds NaN or infinity, and the fields of `Tally`."""
    late, longest, total, fired, met, slots = -1, 0, 0, 0, 0, 0
    good, up, down = True, False, False
    for b in range(len(facts)):
        good &= facts[b, 1] == 0
        if late < 0 and facts[b, 2] != 0:
            late = b
        longest, total = max(longest, facts[b, 0]), total + facts[b, 0]
        fired, met, slots = fired + facts[b, 3], met + facts[b, 4], slots + facts[b, 0] * facts[b, 5]
        up |= facts[b, 6] != 0
        down |= facts[b, 7] != 0
    return good, (late, longest, total, fired, met, slots, up, down)
