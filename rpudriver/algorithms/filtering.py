"""The digital filter of TTv2: reads of A are added up in H, and whole pulses go on to C."""

import numba as nb
import numpy as np
import numpy.typing as npt
import torch

from rpudriver.trains import single_pulses
from rpudriver.types import PulseTrains

_F = np.float32
_U = np.uint32


def filter_reads(
    buffer: torch.Tensor, columns: npt.NDArray[np.int64], reads: torch.Tensor, gain: float, hysteresis: float
) -> PulseTrains:
    """Add reads to H in place, one after the other, and return the pulses that they send to C.

    ``H[t] += gain * read``; where ``|H| >= 1`` a pulse of that sign goes off and H is lowered by ``1 - hysteresis``.

    Parameters
    ----------
    buffer : float32 tensor ``[n_in, n_out]``, contiguous
        H, in pulses, a row for each column of C. Changed in place.
    columns : int64 array ``[R]``
        Which column of the array each read is of.
    reads : float32 tensor ``[R, n_out]`` on the device of `buffer`

    Returns
    -------
    PulseTrains
        R samples of BL 1, or 0 where nothing goes off; sample r fires column ``columns[r]`` alone.
    """
    if buffer.device.type != "cpu":
        return _filter_in_torch(buffer, columns, reads, gain, hysteresis)
    samples, (n_in, n_out) = columns.shape[0], buffer.shape
    x_words, d_words = np.zeros((samples, n_in), np.uint32), np.empty((samples, n_out), np.uint32)
    negative, bl = np.empty((samples, n_out), np.bool_), np.empty(samples, np.int64)
    arguments = buffer.numpy(), columns, reads.contiguous().numpy(), _F(gain), _F(1 - hysteresis)
    _filter(*arguments, x_words, d_words, negative, bl)
    plus = np.zeros((samples, n_in), np.bool_)
    return PulseTrains.of_arrays(x_words[:, :, None], d_words[:, :, None], plus, negative, bl)


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _filter(buffer, columns, reads, gain, fall, x_words, d_words, negative, bl):  # type: ignore[no-untyped-def]
    for r in range(len(columns)):
        row, read = buffer[columns[r]], reads[r]
        any_fired = _U(0)
        for i in range(len(row)):
            h = _F(row[i] + _F(gain * read[i]))
            up, down = h >= _F(1), h <= _F(-1)
            row[i] = _F(h - fall) if up else (_F(h + fall) if down else h)
            d_words[r, i] = _U(up | down)
            negative[r, i] = down
            any_fired |= _U(up | down)
        bl[r] = any_fired
        x_words[r, columns[r]] = any_fired


def _filter_in_torch(
    buffer: torch.Tensor, columns: npt.NDArray[np.int64], reads: torch.Tensor, gain: float, hysteresis: float
) -> PulseTrains:
    """Do the same on any torch device."""
    signs = torch.empty_like(reads)
    for r, column in enumerate(columns.tolist()):
        row = buffer[column]
        row += gain * reads[r]
        signs[r] = torch.where(row.abs() >= 1, row.sign(), 0.0)
        row -= (1 - hysteresis) * signs[r]
    return single_pulses(torch.tensor(columns, device=buffer.device), signs, len(buffer))
