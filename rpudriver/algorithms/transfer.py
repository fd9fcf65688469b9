"""What Tiki-Taka and its successors share: the gradient goes onto A, whose columns are read in turn."""

from functools import lru_cache

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.updates import Places, Update


def schedule(updates: int, batch: int, n_s: int, n_in: int) -> Places:
    """Return the transfers that fall into a mini-batch: one after every `n_s`-th update, column after column.

    Parameters
    ----------
    updates : int
        Updates made before this mini-batch; the count runs on from batch to batch.
    """
    return _schedule(updates % (n_s * n_in), batch, n_s, n_in)


@lru_cache(maxsize=4096)
def _schedule(updates: int, batch: int, n_s: int, n_in: int) -> Places:
    """Return what is the same whenever all columns have been read; handed out again, so not to be written to."""
    k = np.arange(updates // n_s + 1, (updates + batch) // n_s + 1)
    return Places((k - 1) % n_in, k * n_s - updates)


def one_hot(transfers: Places, n_in: int, device: torch.device) -> torch.Tensor:
    """Return the inputs of C that transfers stand for, float32 ``[R, n_in]``: sample r fires column ``columns[r]``."""
    columns = transfers.columns
    x = np.zeros((len(columns), n_in), np.float32)
    for r, column in enumerate(columns.tolist()):  # few: an array of places would take longer
        x[r, column] = 1.0
    onto_c = torch.from_numpy(x)
    return onto_c if device.type == "cpu" else onto_c.to(device)


def train_and_read(backend: CrossbarBackend, update: Update, points: torch.Tensor | None = None) -> torch.Tensor:
    """Run a mini-batch on A in one step and return what each transfer read, ``A u_t``, float32 ``[R, n_out]``.

    Symmetry points that are kept digitally, float32 ``[n_in, n_out]``, are subtracted.
    """
    values = backend.update(update)
    values = values if update.amplitude == 1.0 else values / update.amplitude
    if points is None:
        return values
    return values - points.to(values.device)[torch.from_numpy(update.reads.columns).to(values.device)]
