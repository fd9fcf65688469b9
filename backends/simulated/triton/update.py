"""The pulsed update on a CUDA device: the same pulses and the same noise as `pulses`, each device in registers.

A program of one warp owns a tile of one row block and one column block for the whole batch. Trains come turned: a word
holds one slot of one line in 32 samples. ANDed, those of a row and a column say in which samples the slot met, and
adding up the slots bit by bit gives the number of coincidences in each sample as a few binary planes. The tile then
goes through its pulses in lock-step: each device takes the lowest sample that has any left. Devices count their pulses
and draw by that count, so it makes no difference how they wait for each other.
"""

from collections.abc import Sequence
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
from rpudriver.backends.simulated.triton.turning import GROUP, room_for, turn
from rpudriver.keyed import gpu as keyed
from rpudriver.keyed.gpu import as_word, blocks, gaussian, launch, popcount
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
_GROUP = tl.constexpr(GROUP)


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
    words = trains.x_words.contiguous().view(torch.int32), trains.d_words.contiguous().view(torch.int32)
    negative = (sign.contiguous().view(torch.uint8) for sign in (trains.x_negative, trains.d_negative))
    longest = max(trains.bl.tolist(), default=0)
    return apply_words(bank, (*words, *negative), longest, repeat, strength, flip, columns, after)


def apply_words(
    bank: Bank,
    trains: Sequence[torch.Tensor],
    longest: int,
    repeat: int = 1,
    strength: float = 1.0,
    flip: bool = False,
    columns: torch.Tensor | None = None,
    after: torch.Tensor | None = None,
    room: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor | None:
    """Pulse a bank as `apply_trains` does.

    Parameters
    ----------
    trains : x_words, d_words (int32), x_negative and d_negative (uint8), contiguous.
    longest : bit length.
    room : memory for turned trains.
    """
    where, (n_out, n_in) = bank.hidden.device, bank.shape
    snapshots = 0 if columns is None else len(columns)
    out = torch.empty((snapshots, n_out), device=where) if snapshots else bank.hidden
    device, response = bank.device, bank.device.response
    words = trains[0].shape[2]
    pieces = len(trains[0]) * words  # a word of a sample is as good as a sample: its pulses go the same way
    slots = min(longest, GROUP)
    if (pieces and slots) or snapshots:
        room = room or room_for(pieces, n_in, n_out, slots, where)
        turn(trains, slots, room)
        table, (tall, wide) = _table(response, where), tile_of(n_in)
        launch(
            update_kernel,
            (blocks(n_out, tall), blocks(n_in, wide), 1),
            (
                *(bank.hidden, bank.pulses, bank.read, out, _parameters(bank), *room),
                *(*_places(columns, after, words, bank.pulses), table),
                *(n_out, n_in, 0, pieces, repeat, snapshots, table.shape[1], slots),
                *(keyed.signed(int(word)) for word in bank.keys),
                *(device.c2c, device.c2c_additive, float(strength), device.write_noise * device.dw_min.mean),
            ),
            (*_variant(bank), flip, max(1, slots.bit_length()), tall, wide),
        )
    if columns is None:
        return None
    return out if snapshots else torch.empty((0, n_out), device=where)


def tile_of(n_in: int) -> tuple[int, int]:
    """Return rows and columns of the devices of a program: one row, or several of a narrow array."""
    wide = min(TILE, 1 << (n_in - 1).bit_length())
    return TILE // wide, wide


def _parameters(bank: Bank) -> tuple[torch.Tensor, ...]:
    """Return the parameters that `load_device` takes."""
    names = ("dw_up", "dw_down", "w_max", "w_min", "alive", *FAMILIES[type(bank.device.response)][1:])
    return tuple(bank.parameters[name] for name in names)


def _variant(bank: Bank) -> tuple[str, bool, bool, int, bool]:
    """Return what the kernel is compiled for.

    That is the family, whether there is any noise and any besides the multiplicative one, steps of the bisection of a
    table, and whether there is write noise.
    """
    device, response = bank.device, bank.device.response
    own_spread = isinstance(response, Measured) and response.dw_spread is not None
    mixed = bool(device.c2c_additive) or own_spread
    search = (len(response.w) - 2).bit_length() if isinstance(response, Measured) else 0
    return FAMILIES[type(response)][0], mixed or bool(device.c2c), mixed, search, bool(device.write_noise)


def _places(
    columns: torch.Tensor | None, after: torch.Tensor | None, words: int, unused: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where snapshots are taken, the second in words instead of samples; any tensor where there are none."""
    if columns is None or after is None:
        return unused, unused
    return columns.to(unused.device, torch.int32), (after * words).to(unused.device, torch.int32)


@lru_cache(maxsize=64)
def _table(response: Response, where: torch.device) -> torch.Tensor:
    """Return a measured table (w, up, down, spread) as float32 ``[4, rows]``, empty for other families; copied once."""
    if not isinstance(response, Measured):
        return torch.zeros(4, 0, device=where)
    spread = response.dw_spread or (0.0,) * len(response.w)
    return torch.tensor((response.w, response.dw_up, response.dw_down, spread), dtype=torch.float32, device=where)


@triton.jit
def _line(turned, group, slot, slots, line, lines):  # type: ignore[no-untyped-def]
    """Return a slot of some lines in the samples of a group; slot number `slots` is their signs."""
    at = (tl.cast(group, tl.int64) * (slots + 1) + slot) * lines + line
    return as_word(tl.load(turned + at, mask=line < lines, other=0))


@triton.jit
def _met(x, d, group, room, lines, slots, planes: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the coincidences of each device in each sample of a group as binary planes, those not used empty."""
    row, column, n_out, n_in = lines
    c0 = tl.zeros([row.shape[0], column.shape[1]], tl.uint32)
    c1, c2, c3, c4, c5 = c0, c0, c0, c0, c0
    for slot in range(slots):
        fires = _line(d, group, slot, slots, row, n_out) & room
        carry = fires & _line(x, group, slot, slots, column, n_in)
        c0, carry = c0 ^ carry, c0 & carry
        if planes > 1:
            c1, carry = c1 ^ carry, c1 & carry
        if planes > 2:
            c2, carry = c2 ^ carry, c2 & carry
        if planes > 3:
            c3, carry = c3 ^ carry, c3 & carry
        if planes > 4:
            c4, carry = c4 ^ carry, c4 & carry
        if planes > 5:
            c5 = c5 ^ carry
    return c0, c1, c2, c3, c4, c5


@triton.jit
def _less_one(c, lowest, planes: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the planes with one pulse taken from the sample whose bit is set in `lowest`."""
    c0, c1, c2, c3, c4, c5 = c
    c0 = c0 ^ lowest
    borrow = c0 & lowest  # where the digit was 0
    if planes > 1:
        c1 = c1 ^ borrow
        borrow = c1 & borrow
    if planes > 2:
        c2 = c2 ^ borrow
        borrow = c2 & borrow
    if planes > 3:
        c3 = c3 ^ borrow
        borrow = c3 & borrow
    if planes > 4:
        c4 = c4 ^ borrow
        borrow = c4 & borrow
    if planes > 5:
        c5 = c5 ^ borrow
    return c0, c1, c2, c3, c4, c5


# fmt: off
@triton.jit
def _drain(  # type: ignore[no-untyped-def]
    w, count, c, agree, tile, physics,
    family: tl.constexpr, noisy: tl.constexpr, mixed: tl.constexpr, search: tl.constexpr, planes: tl.constexpr,
):
    # fmt: on
    """Apply the pulses of a group; return the hidden states and the pulse counts after them."""
    cell, key, device = tile
    length = popcount(c[0]) + 2 * popcount(c[1])
    if planes > 2:
        length += 4 * popcount(c[2]) + 8 * popcount(c[3]) + 16 * popcount(c[4]) + 32 * popcount(c[5])
    for _ in range(tl.max(length)):
        some = c[0] | c[1] | c[2] | c[3] | c[4] | c[5]
        lowest = some & (0 - some)
        live, up = some != 0, (agree & lowest) != 0
        xi = gaussian(key[0], key[1], cell, count) if noisy else tl.zeros_like(w)
        after = moved(w, up, xi, device, physics, family, mixed, search)
        w = tl.where(live, after, w)
        count += live.to(tl.uint32)
        c = _less_one(c, lowest, planes)
    return w, count


@triton.jit
def _reading(w, count, before, read, at, inside, tile, sigma, write: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return what reads see of the hidden states `w`; devices that were not pulsed keep what they read as."""
    if write:
        cell, key, device = tile
        noisy = w + (sigma * device[8]) * gaussian(key[2], key[3], cell, count)
        w = tl.where(count != before, noisy, tl.load(read + at, mask=inside, other=0.0))
    return w


@triton.jit
def _room(first, last, group):  # type: ignore[no-untyped-def]
    """Return the bits of the samples of a group that lie in ``first .. last - 1``."""
    low = tl.maximum(first - group * _GROUP, 0).to(tl.int64)
    high = tl.minimum(last - group * _GROUP, _GROUP).to(tl.int64)
    one = tl.cast(1, tl.int64)
    return (((one << high) - 1) & ~((one << low) - 1)).to(tl.uint32)


# fmt: off
@triton.jit(do_not_specialize=(
    "n_out", "n_in", "origin", "samples", "repeat", "snapshots", "rows", "slots",
    "pulse_0", "pulse_1", "write_0", "write_1",
), do_not_specialize_on_alignment=("hidden", "pulses", "read", "out", "x", "d", "columns", "after", "table"))
def update_kernel(  # type: ignore[no-untyped-def]
    hidden, pulses, read, out, parameters, x, d, columns, after, table,
    n_out, n_in, origin, samples, repeat, snapshots, rows, slots, pulse_0, pulse_1, write_0, write_1,
    c2c, additive, strength, write_sigma,
    family: tl.constexpr, noisy: tl.constexpr, mixed: tl.constexpr, search: tl.constexpr, write: tl.constexpr,
    flip: tl.constexpr, planes: tl.constexpr, tall: tl.constexpr, wide: tl.constexpr,
):
    # fmt: on
    """Pulse one tile of ``tall x wide`` devices with all samples; see `apply_trains`.

    `origin` is 0: given as a number in the code, Triton up to 3.6 takes `first` for constant, and starts each stretch
    at the first sample.
    """
    row = tl.program_id(0) * tall + tl.arange(0, tall)[:, None]
    column = tl.program_id(1) * wide + tl.arange(0, wide)[None, :]
    inside = (row < n_out) & (column < n_in)
    at = row * n_in + column
    key = (as_word(pulse_0), as_word(pulse_1), as_word(write_0), as_word(write_1))
    tile = (at.to(tl.uint32), key, load_device(parameters, at, inside, strength, family))
    physics, lines = (table, rows, c2c, additive), (row, column, n_out, n_in)
    w = tl.load(hidden + at, mask=inside, other=0.0)
    before = as_word(tl.load(pulses + at, mask=inside, other=0))
    count = before
    first = origin
    for r in range(snapshots + repeat):  # a stretch of the batch up to each snapshot of this tile, then all to the end
        seen = tl.load(columns + r, mask=r < snapshots, other=tl.program_id(1) * wide)
        if seen // wide == tl.program_id(1):
            last = tl.load(after + r, mask=r < snapshots, other=samples)
            for group in range(first // _GROUP, tl.cdiv(last, _GROUP)):
                signs = _line(x, group, slots, slots, column, n_in) ^ _line(d, group, slots, slots, row, n_out)
                agree = signs if flip else ~signs
                c = _met(x, d, group, _room(first, last, group), lines, slots, planes)
                w, count = _drain(w, count, c, agree, tile, physics, family, noisy, mixed, search, planes)
            first = origin
            if r < snapshots:
                value = _reading(w, count, before, read, at, inside, tile, write_sigma, write)
                tl.store(out + r * n_out + row + 0 * column, value, mask=inside & (column == seen))
                first = last
    tl.store(hidden + at, w, mask=inside)
    tl.store(pulses + at, count.to(tl.int32, bitcast=True), mask=inside)
    if write:
        tl.store(read + at, _reading(w, count, before, read, at, inside, tile, write_sigma, write), mask=inside)
