"""What Tiki-Taka and its successors share: the gradient goes onto A, whose columns are read in turn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.validation import Limits
from rpudriver.types import Array, Pulse, PulseTrains, Read, Step


@dataclass(frozen=True)
class Transfer:
    """A read of column `column` of A after `after` samples of a mini-batch."""

    after: int
    column: int


def schedule(updates: int, batch: int, n_s: int, n_in: int) -> list[Transfer]:
    """Return the transfers that fall into a mini-batch: one after every `n_s`-th update, column after column.

    Parameters
    ----------
    updates : int
        Updates made before this mini-batch; the count runs on from batch to batch.
    """
    last = (updates + batch) // n_s
    return [Transfer(k * n_s - updates, (k - 1) % n_in) for k in range(updates // n_s + 1, last + 1)]


def train_and_read(
    backend: CrossbarBackend, array: Array, trains: PulseTrains, transfers: Sequence[Transfer]
) -> list[torch.Tensor]:
    """Run a mini-batch on A as one sequence and return what each transfer read, ``A u_t`` ``[n_out]``.

    Columns are read with the largest input that the chip has and that is armed, 1 on most chips.
    """
    _, largest = (backend.status().limits or Limits()).within(backend.capabilities)
    reads = backend.run(gradient_sequence(array, trains, transfers, largest))
    return [read.values[0] / largest for read in reads]


def gradient_sequence(
    array: Array, trains: PulseTrains, transfers: Sequence[Transfer], largest: float = 1.0
) -> list[Step]:
    """Return the pulses of a mini-batch on A with the read of each transfer, ``largest * u_t``, in its place."""
    steps: list[Step] = []
    start = 0
    for transfer in transfers:
        if transfer.after > start:
            steps.append(Pulse(array, trains[start : transfer.after]))
            start = transfer.after
        one_hot = torch.zeros(1, array.n_in, device=trains.x_words.device)
        one_hot[0, transfer.column] = largest
        steps.append(Read(((array, 1.0),), one_hot))
    if start < len(trains):
        steps.append(Pulse(array, trains[start:]))
    return steps
