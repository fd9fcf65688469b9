"""The pulsed update on a CUDA device: the same pulses and the same noise as `pulses`, each device in registers.

A program of one warp owns a tile of one row block and one column block for the whole batch. It looks at sample after
sample and notes the polarity of every coincidence in a queue of bits, one queue a device; when a queue may overflow,
a snapshot is due or the batch ends, all queues of the tile are drained in lock-step. Devices count their pulses
and draw by that count, so it makes no difference when the queues are drained.
"""

from functools import lru_cache

import torch
import triton
import triton.language as tl

from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.devices.constant import ConstantStep
from rpudriver.backends.simulated.devices.exponential import Exponential
from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.devices.power import Power
from rpudriver.backends.simulated.devices.response import Response
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.backends.simulated.triton.physics import load_device, moved
from rpudriver.keyed import gpu as keyed
from rpudriver.keyed.gpu import as_word, gaussian, popcount
from rpudriver.types import PulseTrains

# the family's name in the kernel, and the two parameters that its response adds to a device
FAMILIES: dict[type[Response], tuple[str, str, str]] = {
    ConstantStep: ("constant", "alive", "alive"),
    SoftBounds: ("soft-bounds", "alive", "alive"),
    Power: ("power", "tau", "gamma"),
    Exponential: ("exponential", "tau", "gamma"),
    Measured: ("measured", "dw_nominal", "alive"),
}
TILE = 64  # devices of a program: two for each lane of its warp
# places in the tuple that a kernel is compiled for: the family, whether there is any noise and any besides the
# multiplicative one, steps of the bisection of a table, write noise, reversed polarity, words of a train
FAMILY, NOISY, MIXED, SEARCH, WRITE, FLIP, WORDS = (tl.constexpr(place) for place in range(7))
_ROOM = tl.constexpr(63)  # pulses that a queue of 64 bits holds, so that it is never shifted by its whole width


def apply_trains(
    bank: Bank,
    trains: PulseTrains,
    repeat: int = 1,
    strength: float = 1.0,
    flip: bool = False,
    columns: torch.Tensor | None = None,
    after: torch.Tensor | None = None,
) -> torch.Tensor | None:
    """Pulse a bank with a batch of trains, `repeat` times, in place.

    Parameters
    ----------
    trains : PulseTrains
        On the device of the bank.
    strength : float
        Scales the mean step.
    flip : bool
        Reverses the polarity.
    columns, after : int64 tensors ``[R]``
        Snapshots: number r is what column ``columns[r]`` reads as after the first ``after[r]`` samples; `after` does
        not fall. They need ``repeat = 1``.

    Returns
    -------
    float32 tensor ``[R, n_out]`` of snapshots, on the device of the bank; None where none were asked for.
    """
    where, (n_out, n_in) = bank.hidden.device, bank.shape
    out = torch.empty((0 if columns is None else len(columns), n_out), device=where)
    device, response = bank.device, bank.device.response
    names = ("dw_up", "dw_down", "w_max", "w_min", "alive", *FAMILIES[type(response)][1:])
    table = _table(response, where)
    wide = min(TILE, triton.next_power_of_2(n_in))
    tall = TILE // wide
    with torch.cuda.device_of(bank.hidden):
        update_kernel[triton.cdiv(n_out, tall), triton.cdiv(n_in, wide)](
            *(bank.hidden, bank.pulses, bank.read, out),
            tuple(bank.parameters[name] for name in names),
            _packed(trains),
            *(_numbers(columns, where), _numbers(after, where), table),
            *(n_out, n_in, len(trains), repeat, len(out), table.shape[1]),
            *keyed.signed_key(bank.seed, f"{bank.stream}/pulse", 0),
            *keyed.signed_key(bank.seed, f"{bank.stream}/write", 0),
            *(device.c2c, device.c2c_additive, float(strength), device.write_noise * device.dw_min.mean),
            variant=variant_of(bank, flip, trains.x_words.shape[2]),
            tall=tall,
            wide=wide,
            **keyed.OPTIONS,
        )
    return None if columns is None else out


def variant_of(bank: Bank, flip: bool, words: int) -> tuple[str | bool | int, ...]:
    """Return what the kernel is compiled for: see `FAMILY` and the numbers that follow it."""
    device, response = bank.device, bank.device.response
    own_spread = isinstance(response, Measured) and response.dw_spread is not None
    mixed = bool(device.c2c_additive) or own_spread
    search = (len(response.w) - 2).bit_length() if isinstance(response, Measured) else 0
    return FAMILIES[type(response)][0], mixed or bool(device.c2c), mixed, search, bool(device.write_noise), flip, words


def _packed(trains: PulseTrains) -> tuple[torch.Tensor, ...]:
    words = (trains.x_words, trains.d_words)
    signs = (trains.x_negative, trains.d_negative)
    return *(w.contiguous().view(torch.int32) for w in words), *(s.contiguous().view(torch.uint8) for s in signs)


def _numbers(values: torch.Tensor | None, where: torch.device) -> torch.Tensor:
    return torch.zeros(1, dtype=torch.int32, device=where) if values is None else values.to(where, torch.int32)


@lru_cache(maxsize=64)
def _table(response: Response, where: torch.device) -> torch.Tensor:
    """Return a measured table (w, up, down, spread) as float32 ``[4, rows]``, empty for other families; copied once."""
    if not isinstance(response, Measured):
        return torch.zeros(4, 0, device=where)
    spread = response.dw_spread or (0.0,) * len(response.w)
    return torch.tensor((response.w, response.dw_up, response.dw_down, spread), dtype=torch.float32, device=where)


@triton.jit
def _load_lines(words_of, negative, sample, word, line, lines, words: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return a word of the trains of some lines in one sample, and whether the lines are negative in it."""
    at = tl.cast(sample, tl.int64) * lines + line
    inside = line < lines
    fires = as_word(tl.load(words_of + at * words + word, mask=inside, other=0))
    return fires, tl.load(negative + at, mask=inside, other=0) != 0


@triton.jit
def _drain(w, count, queue, length, tile, physics, variant: tl.constexpr):  # type: ignore[no-untyped-def]
    """Apply all queued pulses; return the hidden states and the pulse counts after them."""
    cell, key, device = tile
    for k in range(tl.max(length)):
        live = k < length
        xi = gaussian(key[0], key[1], cell, count) if variant[NOISY] else tl.zeros_like(w)
        up = (queue & 1) != 0
        after = moved(w, up, xi, device, physics, variant[FAMILY], variant[MIXED], variant[SEARCH])
        w = tl.where(live, after, w)
        count += live.to(tl.uint32)
        queue = queue >> 1
    return w, count


@triton.jit
def _pulse(w, count, first, last, trains, lines, tile, physics, variant: tl.constexpr):  # type: ignore[no-untyped-def]
    """Apply the words `first` to `last` of the batch, counted over the samples and their words."""
    row, column, n_out, n_in = lines
    words: tl.constexpr = variant[WORDS]
    empty, none = tl.zeros(w.shape, tl.uint64), tl.zeros(w.shape, tl.int32)
    queue, length, bound = empty, none, 0
    for t in range(first, last):
        d, d_down = _load_lines(trains[1], trains[3], t // words, t % words, row, n_out, words)
        most = tl.max(popcount(d))
        if most > 0:  # else the whole row block is at rest
            bound += most
            if bound > _ROOM:  # perhaps: `bound` counts as if some column had met every pulse of the rows
                bound = tl.max(length) + most
            if bound > _ROOM:
                w, count = _drain(w, count, queue, length, tile, physics, variant)
                queue, length, bound = empty, none, most
            x, x_down = _load_lines(trains[0], trains[2], t // words, t % words, column, n_in, words)
            n = popcount(x & d)
            up = (x_down != d_down) if variant[FLIP] else (x_down == d_down)
            ones = ((empty + 1) << n.to(tl.uint64)) - 1
            queue = queue | tl.where(up, ones << length.to(tl.uint64), empty)
            length += n
    return _drain(w, count, queue, length, tile, physics, variant)


@triton.jit
def _reading(w, count, before, read, at, inside, tile, sigma, variant: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return what reads see of the hidden states `w`; devices that were not pulsed keep what they read as."""
    if variant[WRITE]:
        cell, key, device = tile
        noisy = w + (sigma * device[8]) * gaussian(key[2], key[3], cell, count)
        w = tl.where(count != before, noisy, tl.load(read + at, mask=inside, other=0.0))
    return w


# fmt: off
@triton.jit(do_not_specialize=(
    "n_out", "n_in", "samples", "repeat", "snapshots", "rows", "pulse_0", "pulse_1", "write_0", "write_1"
))
def update_kernel(  # type: ignore[no-untyped-def]
    hidden, pulses, read, out, parameters, trains, columns, after, table,
    n_out, n_in, samples, repeat, snapshots, rows, pulse_0, pulse_1, write_0, write_1,
    c2c, additive, strength, write_sigma, variant: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr,
):
    # fmt: on
    """Pulse one tile of ``tall x wide`` devices with all samples; see `apply_trains`."""
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.program_id(1) * wide + tl.arange(0, wide)[None, :]
    inside = (row < n_out) & (column < n_in)
    at = row * n_in + column
    key = (as_word(pulse_0), as_word(pulse_1), as_word(write_0), as_word(write_1))
    tile = (at.to(tl.uint32), key, load_device(parameters, at, inside, strength, variant[FAMILY]))
    physics, lines = (table, rows, c2c, additive), (row, column, n_out, n_in)
    w = tl.load(hidden + at, mask=inside, other=0.0)
    before = as_word(tl.load(pulses + at, mask=inside, other=0))
    count = before
    first = 0
    for r in range(snapshots + repeat):  # a stretch of the batch up to each snapshot of this tile, then all to the end
        seen = tl.load(columns + r, mask=r < snapshots, other=tl.program_id(1) * wide)
        if seen // wide == tl.program_id(1):
            last = tl.load(after + r, mask=r < snapshots, other=samples)
            words: tl.constexpr = variant[WORDS]
            w, count = _pulse(w, count, first * words, last * words, trains, lines, tile, physics, variant)
            first = 0
            if r < snapshots:
                value = _reading(w, count, before, read, at, inside, tile, write_sigma, variant)
                tl.store(out + r * n_out + row + 0 * column, value, mask=inside & (column == seen))
                first = last
    tl.store(hidden + at, w, mask=inside)
    tl.store(pulses + at, count.to(tl.int32, bitcast=True), mask=inside)
    if variant[WRITE]:
        tl.store(read + at, _reading(w, count, before, read, at, inside, tile, write_sigma, variant), mask=inside)
