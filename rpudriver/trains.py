"""Drawing of pulse trains with update and bit-length management (Gokmen & Vlasov 2016; Gokmen et al. 2018)."""

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.errors import StepError
from rpudriver.keyed import native
from rpudriver.keyed import tensors as keyed
from rpudriver.keyed.native import word_count
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
    x, d = x.detach(), d.detach()
    x_max, d_max = _largest(x, "x"), _largest(d, "d")
    active = (x_max > 0) & (d_max > 0) & (lr > 0)
    x_safe, d_safe = np.where(active, x_max, 1.0), np.where(active, d_max, 1.0)
    bl = np.clip(np.ceil(lr * x_safe * d_safe / dw_min), 1, max_bl) if bl_management else np.full(len(x), float(max_bl))
    amplitude = np.where(active, np.sqrt(lr / (bl * dw_min)), 0.0)
    ratio = np.sqrt(d_safe / x_safe) if update_management else 1.0
    bl = np.where(active, bl, 0).astype(np.int64)
    return PulseTrains(
        _draw_side(x, amplitude * ratio, bl, TrainSource(source.seed, f"{source.stream}/x"), first),
        _draw_side(d, amplitude / ratio, bl, TrainSource(source.seed, f"{source.stream}/d"), first),
        x < 0,
        d < 0,
        torch.from_numpy(bl),
    )


def _largest(values: torch.Tensor, name: str) -> npt.NDArray[np.float64]:
    largest = values.abs().amax(1).cpu().numpy().astype(np.float64)
    if not np.isfinite(largest).all():
        sample = int((~np.isfinite(largest)).argmax())
        raise StepError(f"{name} of sample {sample} holds NaN or infinity; lower the learning rate or check the data")
    return largest


def _draw_side(
    values: torch.Tensor, amplitude: npt.NDArray[np.float64], bl: npt.NDArray[np.int64], source: TrainSource, first: int
) -> torch.Tensor:
    """Return uint32 words ``[B, n, W]``: line j fires with probability ``min(1, amplitude_b |value_j|)``.

    Word w of line j uses the pulses ``32 w .. 32 w + 31`` of cell j.
    """
    if values.device.type == "cpu":
        numbers = values.contiguous().numpy()
        return torch.from_numpy(native.train_words(source.seed, source.stream, first, numbers, amplitude, bl))
    return _torch_words(values, torch.from_numpy(amplitude), torch.from_numpy(bl), source, first)


def _torch_words(
    values: torch.Tensor, amplitude: torch.Tensor, bl: torch.Tensor, source: TrainSource, first: int
) -> torch.Tensor:
    """Return what `native.train_words` returns, on any torch device."""
    (samples, lines), device, words = values.shape, values.device, word_count(bl.numpy())
    probability = (values.double().abs() * amplitude.to(device)[:, None]).clamp(0.0, 1.0)
    threshold = torch.floor(probability * 2.0**32 + 0.5).long()
    k0, k1 = keyed.key(source.seed, source.stream, first, samples, device)
    cells = torch.arange(lines, dtype=torch.int32, device=device)[:, None, None]
    pulses = torch.arange(32 * words, dtype=torch.int32, device=device).view(words, 32)
    drawn = keyed.draw((k0.view(-1, 1, 1, 1), k1.view(-1, 1, 1, 1)), cells, pulses)
    packed = keyed.bernoulli_words(drawn, threshold[:, :, None].expand(samples, lines, words))
    return (packed & _slot_mask(bl.to(device), words)).view(torch.uint32)


def _slot_mask(bl: torch.Tensor, words: int) -> torch.Tensor:
    """Return int32 words ``[B, 1, W]`` with the first BL slots set."""
    room = (bl[:, None] - 32 * torch.arange(words, device=bl.device)).clamp(0, 32)
    return ((torch.ones_like(room) << room) - 1).to(torch.int32)[:, None, :]


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
