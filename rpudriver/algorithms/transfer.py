"""What Tiki-Taka and its successors share: the gradient goes onto A, whose columns are read in turn."""

from dataclasses import dataclass

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.types import Array, PulseTrains, Scan


@dataclass(frozen=True, eq=False)
class Transfers:
    """The reads of A in a mini-batch: of column ``columns[r]`` after its first ``after[r]`` samples, int64 ``[R]``."""

    columns: torch.Tensor
    after: torch.Tensor

    def __len__(self) -> int:
        return self.columns.shape[0]


def schedule(updates: int, batch: int, n_s: int, n_in: int) -> Transfers:
    """Return the transfers that fall into a mini-batch: one after every `n_s`-th update, column after column.

    Parameters
    ----------
    updates : int
        Updates made before this mini-batch; the count runs on from batch to batch.
    """
    k = np.arange(updates // n_s + 1, (updates + batch) // n_s + 1)
    return Transfers(torch.from_numpy((k - 1) % n_in), torch.from_numpy(k * n_s - updates))


def train_and_read(
    backend: CrossbarBackend,
    array: Array,
    trains: PulseTrains,
    transfers: Transfers,
    points: torch.Tensor | None = None,
) -> torch.Tensor:
    """Run a mini-batch on A in one step and return what each transfer read, ``A u_t``, float32 ``[R, n_out]``.

    Columns are read with the largest input that the chip has and that is armed, 1 on most chips.
    Symmetry points that are kept digitally, float32 ``[n_in, n_out]``, are subtracted.
    """
    _, largest = backend.allowed
    values = backend.run([Scan(array, trains, transfers.columns, transfers.after, largest)])[0].values
    values = values if largest == 1.0 else values / largest
    return values if points is None else values - points.to(values.device)[transfers.columns.to(values.device)]
