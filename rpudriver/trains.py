"""Drawing of pulse trains with update and bit-length management (Gokmen & Vlasov 2016; Gokmen et al. 2018)."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.errors import StepError
from rpudriver.keyed import arrays, native, threads
from rpudriver.keyed import tensors as keyed
from rpudriver.keyed.accelerator import available
from rpudriver.keyed.arrays import stream_number
from rpudriver.keyed.intrinsics import borrowed, float_of_bits
from rpudriver.keyed.native import word_count
from rpudriver.types import PulseTrains, plain

NANOSECONDS = 3.5  # that the words of a line and sample take to draw, to judge whether threads are worth it
_U, _U64 = np.uint32, np.uint64


@final
@dataclass(frozen=True)
class TrainSource:
    """Where trains draw from: ``"{stream}/x"`` and ``"{stream}/d"`` of a seed, at the number of each sample."""

    seed: int
    stream: str

    @cached_property
    def streams(self) -> tuple[np.uint32, np.uint32]:
        """The numbers of both streams, as compiled code takes them."""
        return _U(stream_number(f"{self.stream}/x")), _U(stream_number(f"{self.stream}/d"))

    @cached_property
    def numbers(self) -> tuple[int, int]:
        """The same as numbers of Python."""
        return int(self.streams[0]), int(self.streams[1])

    @cached_property
    def signed_seed(self) -> int:
        """The seed as the int64 that has its bits: one type for every seed, of those that Numba takes fastest."""
        return int(np.uint64(self.seed).astype(np.int64))

    @cached_property
    def transfer(self) -> "TrainSource":
        """Where the trains of transfers draw from: streams of their own."""
        return TrainSource(self.seed, f"{self.stream}/transfer")


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
    options = (lr, dw_min, max_bl, update_management, bl_management)
    if x.is_cpu and d.is_cpu and x.dtype is torch.float32 and d.dtype is torch.float32:
        return _compiled_trains(x, d, options, source, first)
    return _torch_trains(x.detach(), d.detach(), options, source, first)


_Options = tuple[float, float, int, bool, bool]  # lr, dw_min, max_bl, update_management, bl_management


def _compiled_trains(
    x: torch.Tensor, d: torch.Tensor, options: _Options, source: TrainSource, first: int
) -> PulseTrains:
    """Return the trains of float32 tensors on the CPU."""
    x_values, d_values = _array(x), _array(d)
    samples = len(x_values)
    x_negative, d_negative = np.empty(x_values.shape, np.bool_), np.empty(d_values.shape, np.bool_)
    active, amplitude, bl = np.empty((2, samples), np.int64), np.empty((2, samples)), np.empty(samples, np.int64)
    lr, dw_min, max_bl, update_management, bl_management = options
    numbers = (float(lr), float(dw_min), max_bl, update_management, bl_management)
    managed = (x_values, d_values, x_negative, d_negative, numbers, active, amplitude, bl)
    key = _U64(source.seed), source.streams, _U64(first)
    cost = NANOSECONDS * samples * (x_values.shape[1] + d_values.shape[1])
    alone = cost <= threads.WORTH_A_THREAD or torch.get_num_threads() < 2
    if max_bl <= 32 and alone:  # one word and one thread: all in one call, which costs less than two
        x_words, d_words = _empty_words(x_values, d_values, 1)
        side, sample = _manage_and_fill(*key, *managed, x_words, d_words)
        if side >= 0:
            raise _not_finite("xd"[side], sample)
    else:
        side, sample, longest = _manage(*managed)
        if side >= 0:
            raise _not_finite("xd"[side], sample)
        x_words, d_words = _empty_words(x_values, d_values, max(1, -(-longest // 32)))
        work = partial(_fill, *key, x_values, d_values, active, amplitude, bl, x_words, d_words)
        threads.share(2 * samples, work, cost)
    return PulseTrains.of_arrays(x_words, d_words, x_negative, d_negative, bl)


def thresholds(
    x: torch.Tensor, d: torch.Tensor, options: _Options
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the thresholds ``[B, n_in]`` and ``[B, n_out]`` that `draw_trains` compares with, and the bit lengths.

    For boards that draw trains themselves; see ``docs/keyed-generator.md``. Float32 tensors on the CPU.

    Parameters
    ----------
    options : lr, dw_min, max_bl, update_management, bl_management.

    Raises
    ------
    StepError
        If x or d hold NaN or infinities.
    """
    x_values, d_values = _array(x), _array(d)
    samples = len(x_values)
    signs = np.empty(x_values.shape, np.bool_), np.empty(d_values.shape, np.bool_)
    active, amplitude, bl = np.empty((2, samples), np.int64), np.empty((2, samples)), np.empty(samples, np.int64)
    lr, dw_min, max_bl, update_management, bl_management = options
    numbers = (float(lr), float(dw_min), max_bl, update_management, bl_management)
    side, sample, _ = _manage(x_values, d_values, *signs, numbers, active, amplitude, bl)
    if side >= 0:
        raise _not_finite("xd"[side], sample)
    found = [
        arrays.threshold(np.abs(values.astype(np.float64)) * size[:, None])
        for values, size in zip((x_values, d_values), amplitude, strict=True)
    ]
    return found[0], found[1], bl


def _array(values: torch.Tensor) -> npt.NDArray[np.float32]:
    return plain(values.detach() if values.requires_grad else values).numpy()


_Words = npt.NDArray[np.uint32]


def _empty_words(x: npt.NDArray[Any], d: npt.NDArray[Any], words: int) -> tuple[_Words, _Words]:
    return np.empty((*x.shape, words), _U), np.empty((*d.shape, words), _U)


@native.compiled
def _survey(values, negative):  # type: ignore[no-untyped-def]
    """Note signs and how many values are not 0; return the largest size in float32, NaN or infinity if there is one.

    Sizes are compared as integers, which order alike, put NaN last, and need no reassociation to be vectorised.
    """
    bits = values.view(_U)
    worst, count = _U(0), _U(0)
    for n in range(len(bits)):
        size = _U(bits[n] & _U(0x7FFFFFFF))
        worst = max(worst, size)
        count = _U(count + _U(size != 0))
        negative[n] = bits[n] > _U(0x80000000)
    return np.float64(float_of_bits(np.int32(worst))), count


@native.compiled
def _manage(x, d, x_negative, d_negative, options, active, amplitude, bl):  # type: ignore[no-untyped-def]
    """Set the bit length and both amplitudes of each sample, as `draw_trains` defines them.

    Returns the side (0: x, 1: d) and the sample that hold NaN or infinity, (-1, -1) if none, and the longest BL.
    """
    lr, dw_min, max_bl, update_management, bl_management = options
    x, d, x_negative, d_negative = borrowed(x), borrowed(d), borrowed(x_negative), borrowed(d_negative)
    longest = 0
    bad = (-1, -1)
    for b in range(len(bl)):
        x_max, active[0, b] = _survey(x[b], x_negative[b])
        d_max, active[1, b] = _survey(d[b], d_negative[b])
        if not np.isfinite(x_max) and bad[0] != 0:
            bad = (0, b)
        if not np.isfinite(d_max) and bad[0] < 0:
            bad = (1, b)
        amplitude[0, b], amplitude[1, b], bl[b] = 0.0, 0.0, 0
        if not (x_max > 0 and d_max > 0 and lr > 0 and bad[0] < 0):
            continue
        length = min(max(np.ceil(lr * x_max * d_max / dw_min), 1.0), float(max_bl)) if bl_management else float(max_bl)
        size = np.sqrt(lr / (length * dw_min))
        ratio = np.sqrt(d_max / x_max) if update_management else 1.0
        amplitude[0, b], amplitude[1, b], bl[b] = size * ratio, size / ratio, np.int64(length)
        longest = max(longest, bl[b])
    return bad[0], bad[1], longest


@native.compiled
def _fill(seed, streams, first, x, d, active, amplitude, bl, x_words, d_words, start, stop):  # type: ignore[no-untyped-def]
    """Fill the words of x or d of a sample for each number from `start` to `stop`: two a sample."""
    work = native.desk(max(x.shape[1], d.shape[1]))
    x, d, x_words, d_words = borrowed(x), borrowed(d), borrowed(x_words), borrowed(d_words)
    for n in range(start, stop):
        b, step = n // 2, _U64(first + _U64(n // 2))
        if n % 2 == 0:
            native.sample_words(seed, streams[0], step, x[b], active[0, b], amplitude[0, b], bl[b], x_words[b], work)
        else:
            native.sample_words(seed, streams[1], step, d[b], active[1, b], amplitude[1, b], bl[b], d_words[b], work)


@native.compiled
def _manage_and_fill(  # type: ignore[no-untyped-def]
    seed, streams, first, x, d, x_negative, d_negative, options, active, amplitude, bl, x_words, d_words
):
    """Return the side and the sample that hold NaN or infinity, (-1, -1) if none, and fill the words then."""
    side, sample, _ = _manage(x, d, x_negative, d_negative, options, active, amplitude, bl)
    if side < 0:
        _fill(seed, streams, first, x, d, active, amplitude, bl, x_words, d_words, 0, 2 * len(bl))
    return side, sample


@native.compiled
def draw_words(seed, streams, first, x, d, options):  # type: ignore[no-untyped-def]
    """Return trains as `draw_trains` does, for other compiled code to call.

    Parameters
    ----------
    x, d : contiguous float32 ``[B, n_in]`` and ``[B, n_out]``.
    options : lr, dw_min, max_bl, update_management, bl_management.

    Returns
    -------
    Whether all is finite, and the arrays of `PulseTrains`; nothing is drawn where it is not.
    """
    samples = len(x)
    x_negative, d_negative = np.empty(x.shape, np.bool_), np.empty(d.shape, np.bool_)
    active, amplitude, bl = np.empty((2, samples), np.int64), np.empty((2, samples)), np.empty(samples, np.int64)
    side, _, longest = _manage(x, d, x_negative, d_negative, options, active, amplitude, bl)
    words = max(1, (longest + 31) // 32)
    x_words, d_words = np.empty((*x.shape, words), _U), np.empty((*d.shape, words), _U)
    if side < 0:
        _fill(seed, streams, first, x, d, active, amplitude, bl, x_words, d_words, 0, 2 * samples)
    return side < 0, x_words, d_words, x_negative, d_negative, bl


def _torch_trains(x: torch.Tensor, d: torch.Tensor, options: _Options, source: TrainSource, first: int) -> PulseTrains:
    """Return the same trains on any torch device and of any float type."""
    if available(x) and available(d):
        return _triton_trains(x, d, options, source, first)
    lr, dw_min, max_bl, update_management, bl_management = options
    x_max, d_max = _largest(x, "x"), _largest(d, "d")
    active = (x_max > 0) & (d_max > 0) & (lr > 0)
    x_safe, d_safe = np.where(active, x_max, 1.0), np.where(active, d_max, 1.0)
    bl = np.clip(np.ceil(lr * x_safe * d_safe / dw_min), 1, max_bl) if bl_management else np.full(len(x), float(max_bl))
    amplitude = np.where(active, np.sqrt(lr / (bl * dw_min)), 0.0)
    ratio = np.sqrt(d_safe / x_safe) if update_management else 1.0
    bl = np.where(active, bl, 0).astype(np.int64)
    length = torch.from_numpy(bl)
    return PulseTrains(
        _torch_words(
            x, torch.from_numpy(amplitude * ratio), length, TrainSource(source.seed, f"{source.stream}/x"), first
        ),
        _torch_words(
            d, torch.from_numpy(amplitude / ratio), length, TrainSource(source.seed, f"{source.stream}/d"), first
        ),
        x < 0,
        d < 0,
        length,
    )


def _triton_trains(x: torch.Tensor, d: torch.Tensor, options: _Options, source: TrainSource, first: int) -> PulseTrains:
    """Return the trains of tensors on a CUDA device."""
    from rpudriver.keyed import gpu_trains

    drawn = gpu_trains.room_for(len(x), x.shape[1], d.shape[1], -(-options[2] // 32), x.device)
    gpu_trains.draw_words(x, d, options, (source.seed, source.numbers, first), drawn)
    bl, bad = drawn.facts[:, :2].t().cpu().numpy()
    for side, name in ((1, "x"), (2, "d")):
        if (bad & side).any():
            raise _not_finite(name, int((bad & side != 0).argmax()))
    words = word_count(bl)
    x_words, d_words = (found[:, :, :words].contiguous().view(torch.uint32) for found in drawn[:2])
    x_negative, d_negative = (found.view(torch.bool) for found in drawn[2:4])
    return PulseTrains(x_words, d_words, x_negative, d_negative, torch.from_numpy(bl.copy()))


def _not_finite(name: str, sample: int) -> StepError:
    return StepError(f"{name} of sample {sample} holds NaN or infinity; lower the learning rate or check the data")


def _largest(values: torch.Tensor, name: str) -> npt.NDArray[np.float64]:
    largest = values.abs().amax(1).cpu().numpy().astype(np.float64)
    if not np.isfinite(largest).all():
        sample = int((~np.isfinite(largest)).argmax())
        raise _not_finite(name, sample)
    return largest


def _torch_words(
    values: torch.Tensor, amplitude: torch.Tensor, bl: torch.Tensor, source: TrainSource, first: int
) -> torch.Tensor:
    """Return words ``[B, n, W]``, as `native.train_words` does: line j fires with ``min(1, amplitude_b |value_j|)``.

    Word w of line j uses the pulses ``32 w .. 32 w + 31`` of cell j.
    """
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
