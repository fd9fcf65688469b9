"""Drawing of pulse trains with update and bit-length management (Gokmen & Vlasov 2016; Gokmen et al. 2018)."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from rpudriver.errors import StepError
from rpudriver.keyed import native
from rpudriver.keyed import tensors as keyed
from rpudriver.types import PulseTrains


@final
@dataclass(frozen=True)
class TrainSource:
    """Where trains draw from: ``"{stream}/x"`` and ``"{stream}/d"`` of a seed, at the number of each sample."""

    seed: int
    stream: str


def draw_trains(
    x: torch.Tensor,
    d: torch.Tensor,
    *,
    lr: float,
    dw_min: float,
    max_bl: int,
    source: TrainSource,
    first: int,
    update_management: bool = True,
    bl_management: bool = True,
) -> PulseTrains:
    """Return stochastic trains whose expected update is ``lr * d x^T``, sample by sample.

    Line j fires in each of BL slots with probability ``min(1, C m |x_j|)``, line i with ``min(1, C / m |d_i|)``,
    ``C = sqrt(lr / (BL dw_min))``; update management sets ``m = sqrt(max|d| / max|x|)``, BL management
    ``BL = ceil(lr max|x| max|d| / dw_min)`` up to `max_bl`.

    Parameters
    ----------
    x : float tensor ``[B, n_in]``
    d : float tensor ``[B, n_out]``
    lr : learning rate in chip units, at least 0.
    first : number of the first sample; sample b draws at step ``first + b``.

    Raises
    ------
    StepError
        If x or d hold NaN or infinities, or a parameter is out of range.
    """
    if not (lr >= 0 and dw_min > 0 and max_bl >= 1):
        raise StepError(f"need lr >= 0, dw_min > 0, max_bl >= 1; got {lr}, {dw_min}, {max_bl}")
    x_size, d_size = x.detach().abs().double(), d.detach().abs().double()
    x_max, d_max = _largest(x_size, "x"), _largest(d_size, "d")
    active = (x_max > 0) & (d_max > 0) & (lr > 0)
    if bl_management:
        bl = torch.ceil(lr * x_max * d_max / dw_min).clamp(1, max_bl)
    else:
        bl = torch.full_like(x_max, float(max_bl))
    amplitude = torch.where(active, torch.sqrt(lr / (bl * dw_min)), 0.0)
    ratio = torch.where(active, torch.sqrt(d_max / x_max), 1.0) if update_management else torch.ones_like(x_max)
    bl = torch.where(active, bl, 0.0).long()
    words = max(1, -(-int(bl.max()) // 32)) if len(bl) else 1
    return PulseTrains(
        _draw_side(x_size * (amplitude * ratio)[:, None], bl, words, source, "x", first),
        _draw_side(d_size * (amplitude / ratio)[:, None], bl, words, source, "d", first),
        x < 0,
        d < 0,
        bl.cpu(),
    )


def _largest(size: torch.Tensor, name: str) -> torch.Tensor:
    largest = size.amax(1)
    if not bool(torch.isfinite(largest).all()):
        sample = int((~torch.isfinite(largest)).nonzero()[0])
        raise StepError(f"{name} of sample {sample} holds NaN or infinity; lower the learning rate or check the data")
    return largest


def _slot_mask(bl: torch.Tensor, words: int) -> torch.Tensor:
    """Return int32 words ``[B, 1, W]`` with the first BL slots set."""
    room = (bl[:, None] - 32 * torch.arange(words, device=bl.device)).clamp(0, 32)
    return ((torch.ones_like(room) << room) - 1).to(torch.int32)[:, None, :]


def _draw_side(
    probability: torch.Tensor, bl: torch.Tensor, words: int, source: TrainSource, side: str, first: int
) -> torch.Tensor:
    """Return uint32 words ``[B, n, W]``; word w of line j uses the pulses ``32 w .. 32 w + 31`` of cell j."""
    threshold = torch.floor(probability.clamp(0.0, 1.0) * 2.0**32 + 0.5).long()
    stream = f"{source.stream}/{side}"
    if threshold.device.type == "cpu":
        limits = threshold.numpy().view(np.uint64)
        return torch.from_numpy(native.train_words(source.seed, stream, first, limits, bl.numpy()))
    return _torch_words(threshold, bl, words, TrainSource(source.seed, stream), first)


def _torch_words(
    threshold: torch.Tensor, bl: torch.Tensor, words: int, source: TrainSource, first: int
) -> torch.Tensor:
    """Return what `native.train_words` returns, on any torch device."""
    samples, lines = threshold.shape
    k0, k1 = keyed.key(source.seed, source.stream, first, samples, threshold.device)
    cells = torch.arange(lines, dtype=torch.int32, device=threshold.device)[:, None, None]
    pulses = torch.arange(32 * words, dtype=torch.int32, device=threshold.device).view(words, 32)
    drawn = keyed.draw((k0.view(-1, 1, 1, 1), k1.view(-1, 1, 1, 1)), cells, pulses)
    packed = keyed.bernoulli_words(drawn, threshold[:, :, None].expand(samples, lines, words))
    return (packed & _slot_mask(bl, words)).view(torch.uint32)


def single_pulses(columns: torch.Tensor, signs: torch.Tensor, n_in: int) -> PulseTrains:
    """Return deterministic trains of BL 1: sample b pulses column ``columns[b]`` by ``signs[b]`` (-1, 0 or 1 a row).

    Parameters
    ----------
    columns : int64 tensor ``[B]``
    signs : tensor ``[B, n_out]``
    """
    bl = (signs != 0).any(1).long()
    fires = (torch.nn.functional.one_hot(columns, n_in) * bl[:, None]).to(torch.int32)[:, :, None]
    d_fires = (signs != 0).to(torch.int32)[:, :, None]
    negative = torch.zeros(len(columns), n_in, dtype=torch.bool, device=signs.device)
    return PulseTrains(fires.view(torch.uint32), d_fires.view(torch.uint32), negative, signs < 0, bl.cpu())


def counted_pulses(counts: torch.Tensor) -> PulseTrains:
    """Return deterministic trains that give every device its own number of pulses, column after column.

    Parameters
    ----------
    counts : int64 tensor ``[n_out, n_in]``
        Signed pulses for each device.

    Returns
    -------
    PulseTrains
        n_in samples; sample j fires column j alone in all its ``BL = max_i |counts_ij|`` slots.
    """
    n_in = counts.shape[1]
    size = counts.abs().t()  # [n_in, n_out]
    bl = size.amax(1)
    words = max(1, -(-int(bl.max()) // 32))
    room = (size[:, :, None] - 32 * torch.arange(words, device=counts.device)).clamp(0, 32)
    d_words = ((torch.ones_like(room) << room) - 1).to(torch.int32).view(torch.uint32)
    diagonal = torch.eye(n_in, dtype=torch.int32, device=counts.device)[:, :, None]
    x_words = (diagonal * _slot_mask(bl, words)).contiguous().view(torch.uint32)
    negative = torch.zeros(n_in, n_in, dtype=torch.bool, device=counts.device)
    return PulseTrains(x_words, d_words, negative, counts.t() < 0, bl.cpu())
