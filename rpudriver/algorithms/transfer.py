"""What Tiki-Taka and its successors share: the gradient goes onto A, whose columns are read in turn."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.updates import NOWHERE, Update


@final
@dataclass(frozen=True, eq=False)
class Transfers:
    """The reads of A in a mini-batch: of column ``columns[r]`` after its first ``after[r]`` samples, int64 ``[R]``."""

    columns: torch.Tensor
    after: torch.Tensor

    def __len__(self) -> int:
        return self.columns.shape[0]

    def one_hot(self, n_in: int) -> torch.Tensor:
        """Return what the transfers fire of C, float32 ``[R, n_in]``: sample r column ``columns[r]`` alone."""
        x = np.zeros((len(self), n_in), np.float32)
        x[np.arange(len(self)), self.columns.numpy()] = 1.0
        return torch.from_numpy(x)


def schedule(updates: int, batch: int, n_s: int, n_in: int) -> Transfers:
    """Return the transfers that fall into a mini-batch: one after every `n_s`-th update, column after column.

    Parameters
    ----------
    updates : int
        Updates made before this mini-batch; the count runs on from batch to batch.
    """
    return _schedule(updates % (n_s * n_in), batch, n_s, n_in)


@lru_cache(maxsize=4096)
def _schedule(updates: int, batch: int, n_s: int, n_in: int) -> Transfers:
    """Return what is the same whenever all columns have been read: not to be written to."""
    k = np.arange(updates // n_s + 1, (updates + batch) // n_s + 1)
    return Transfers(torch.from_numpy((k - 1) % n_in), torch.from_numpy(k * n_s - updates))


NO_TRANSFERS = Transfers(NOWHERE, NOWHERE)


def train_and_read(backend: CrossbarBackend, update: Update) -> torch.Tensor:
    """Run a mini-batch on A in one step and return what each transfer read, ``A u_t``, float32 ``[R, n_out]``."""
    values = backend.update(update)
    return values if update.amplitude == 1.0 else values / update.amplitude
