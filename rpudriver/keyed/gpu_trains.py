"""Pulse trains on a GPU: drawing them, and looking through them, in Triton.

Bit for bit the trains and the tallies of the CPU: thresholds are worked out in float64, in the same order. Importing
this module needs Triton; ask `rpudriver.keyed.accelerator.available` first.
"""

import struct
from typing import NamedTuple, final

import torch
import triton
import triton.language as tl

from rpudriver.keyed.gpu import as_word, blocks, draw, halves, launch, signed, step_key

LINES = 64  # lines of one sample that a program draws
_SCAN = 512  # values of a sample that a program looks at in one go
FACTS = 8  # numbers that are noted of each sample, see `Drawn`


@final
class Drawn(NamedTuple):
    """Trains on a GPU, in the form of `rpudriver.types.PulseTrains`.

    Attributes
    ----------
    x_words, d_words : int32 tensors ``[B, n, W]``
    x_negative, d_negative : uint8 tensors ``[B, n]``
    facts : int64 tensor ``[B, 8]``
        Of each sample its BL; which sides hold NaN or infinity (1: x, 2: d); and what `look_through` fills in: whether
        there are slots at or above the BL, pulses on lines, coincidences, pairs of signs that meet (up to 4), and
        whether any pair agrees or differs.
    """

    x_words: torch.Tensor
    d_words: torch.Tensor
    x_negative: torch.Tensor
    d_negative: torch.Tensor
    facts: torch.Tensor


def room_for(samples: int, n_in: int, n_out: int, words: int, where: torch.device) -> Drawn:
    """Return trains that are not drawn yet."""
    return Drawn(
        torch.empty((samples, n_in, words), dtype=torch.int32, device=where),
        torch.empty((samples, n_out, words), dtype=torch.int32, device=where),
        torch.empty((samples, n_in), dtype=torch.uint8, device=where),
        torch.empty((samples, n_out), dtype=torch.uint8, device=where),
        torch.empty((samples, FACTS), dtype=torch.int64, device=where),
    )


def draw_words(
    x: torch.Tensor,
    d: torch.Tensor,
    options: tuple[float, float, int, bool, bool],
    source: tuple[int, tuple[int, int], int],
    out: Drawn,
) -> None:
    """Draw the trains of a batch as `rpudriver.trains.draw_trains` says, with ``W = ceil(max_bl / 32)`` words.

    Parameters
    ----------
    x, d : tensors ``[B, n_in]`` and ``[B, n_out]`` of any type of float.
    options : lr, dw_min, max_bl, update_management, bl_management.
    source : seed, numbers of both streams, number of the first sample.
    """
    (samples, n_in), n_out = x.shape, d.shape[1]
    lr, dw_min, max_bl, update_management, bl_management = options
    seed, (x_stream, d_stream), first = source
    kind = torch.promote_types(x.dtype, d.dtype)
    if samples:
        numbers = *_bits(lr), *_bits(dw_min), *halves(seed), signed(x_stream), signed(d_stream), *halves(first)
        launch(
            draw_kernel,
            (samples, max(1, blocks(n_in, LINES) + blocks(n_out, LINES)), 1),
            (x.to(kind).contiguous(), d.to(kind).contiguous(), *out, n_in, n_out, max_bl, *numbers),
            (bool(update_management), bool(bl_management), out.x_words.shape[2], _SCAN, LINES),
        )


def look_through(drawn: Drawn) -> None:
    """Fill in the facts of trains whose BL are there."""
    (samples, n_in, words), n_out = drawn.x_words.shape, drawn.d_words.shape[1]
    if samples:
        launch(look_kernel, (samples, 1, 1), (*drawn, n_in, n_out, words), (_SCAN,), warps=4)


def _bits(value: float) -> tuple[int, int]:
    """Return the low and the high word of a float64, each as an int32: Triton takes numbers as float32 only."""
    return halves(int(struct.unpack("<Q", struct.pack("<d", value))[0]))


@triton.jit
def _double(low, high):  # type: ignore[no-untyped-def]
    bits = (as_word(high).to(tl.int64) << 32) | as_word(low).to(tl.int64)
    return bits.to(tl.float64, bitcast=True)


@triton.jit
def _largest(values, sample, lines, scan: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the largest size in a sample, float64, and whether there is NaN or infinity, as 0 or 1."""
    most, bad = tl.zeros([scan], tl.float64), tl.zeros([scan], tl.int32)
    for start in range(0, lines, scan):
        line = start + tl.arange(0, scan)
        size = tl.abs(tl.load(values + sample.to(tl.int64) * lines + line, mask=line < lines, other=0.0).to(tl.float64))
        good = size < float("inf")
        bad = bad | (good == 0).to(tl.int32)
        most = tl.maximum(most, tl.where(good, size, 0.0))
    return tl.max(most), tl.max(bad)


@triton.jit
def _slots_below(k0, k1, line, word, limit, used):  # type: ignore[no-untyped-def]
    """Return words of slots whose numbers lie below `limit` (int64); digits are drawn until all are decided."""
    room = ((tl.full(line.shape, 1, tl.uint64) << used.to(tl.uint64)) - 1).to(tl.uint32)
    always = limit > 0xFFFFFFFF
    less = tl.where(always, room, 0)
    undecided = tl.where(always | (limit == 0), 0, room)
    digit = 0
    while (digit < 32) & (tl.max((undecided != 0).to(tl.int32)) > 0):
        drawn = draw(k0, k1, line, (32 * word + digit).to(tl.uint32))
        not_drawn = drawn ^ 0xFFFFFFFF
        one = ((limit >> (31 - digit)) & 1) != 0
        less = less | tl.where(one, undecided & not_drawn, 0)
        undecided = undecided & tl.where(one, drawn, not_drawn)
        digit += 1
    return less


# fmt: off
@triton.jit
def _draw_side(  # type: ignore[no-untyped-def]
    values, amplitude, bl, out, negative, lines, sample, start, key, words: tl.constexpr, block: tl.constexpr,
):
    # fmt: on
    """Draw the trains of `block` lines of one side of a sample."""
    line = start + tl.arange(0, block)
    inside, at = line < lines, sample.to(tl.int64) * lines + line
    value = tl.load(values + at, mask=inside, other=0.0).to(tl.float64)
    limit = (tl.minimum(tl.abs(value) * amplitude, 1.0) * 4294967296.0 + 0.5).to(tl.int64)
    for word in range(words):
        used = tl.minimum(tl.maximum(bl - 32 * word, 0), 32)
        fires = _slots_below(key[0], key[1], line.to(tl.uint32), word, limit, used)
        tl.store(out + at * words + word, fires.to(tl.int32, bitcast=True), mask=inside)
    tl.store(negative + at, (value < 0.0).to(tl.uint8), mask=inside)


_OUT = ("x_words", "d_words", "x_negative", "d_negative", "facts")


# fmt: off
@triton.jit(do_not_specialize=[
    "n_in", "n_out", "max_bl", "lr_low", "lr_high", "step_low", "step_high", "seed_low", "seed_high",
    "x_stream", "d_stream", "first_low", "first_high",
], do_not_specialize_on_alignment=["x", "d", *_OUT])
def draw_kernel(  # type: ignore[no-untyped-def]
    x, d, x_words, d_words, x_negative, d_negative, facts, n_in, n_out, max_bl, lr_low, lr_high, step_low, step_high,
    seed_low, seed_high, x_stream, d_stream, first_low, first_high,
    update_management: tl.constexpr, bl_management: tl.constexpr,
    words: tl.constexpr, scan: tl.constexpr, block: tl.constexpr,
):
    # fmt: on
    """Work out how a sample is drawn, and draw `block` of its lines; the sample is the first axis of the grid.

    Every program of a sample looks through all its values: that costs less than a launch of its own.
    """
    sample, part = tl.program_id(0), tl.program_id(1)
    x_max, x_bad = _largest(x, sample, n_in, scan)
    d_max, d_bad = _largest(d, sample, n_out, scan)
    lr, dw_min = _double(lr_low, lr_high), _double(step_low, step_high)
    active = (x_max > 0.0) & (d_max > 0.0) & (lr > 0.0) & (x_bad + d_bad == 0)
    x_max, d_max = tl.where(active, x_max, 1.0), tl.where(active, d_max, 1.0)
    longest = max_bl.to(tl.float64)
    length = longest
    if bl_management:
        length = tl.minimum(tl.maximum(tl.ceil(lr * x_max * d_max / dw_min), 1.0), longest)
    size = tl.where(active, tl.sqrt(lr / (length * dw_min)), 0.0)
    ratio = tl.sqrt(d_max / x_max) if update_management else size * 0.0 + 1.0
    bl = tl.where(active, length, 0.0).to(tl.int32)
    if part == 0:
        tl.store(facts + sample * 8, bl.to(tl.int64))
        tl.store(facts + sample * 8 + 1, (x_bad + 2 * d_bad).to(tl.int64))
    of_x = tl.cdiv(n_in, block)
    if part < of_x:
        key = step_key(seed_low, seed_high, x_stream, first_low, first_high, sample)
        _draw_side(x, size * ratio, bl, x_words, x_negative, n_in, sample, part * block, key, words, block)
    else:
        key = step_key(seed_low, seed_high, d_stream, first_low, first_high, sample)
        start = (part - of_x) * block
        _draw_side(d, size / ratio, bl, d_words, d_negative, n_out, sample, start, key, words, block)


@triton.jit
def _signs(words_of, negative, lines, sample, word, words, spare, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return whether any spare slot fires, any slot of a positive line, and any of a negative one, as 0 or 1."""
    late, plus, minus = tl.zeros([block], tl.uint32), tl.zeros([block], tl.uint32), tl.zeros([block], tl.uint32)
    for start in range(0, lines, block):
        line = start + tl.arange(0, block)
        inside, at = line < lines, sample.to(tl.int64) * lines + line
        fires = as_word(tl.load(words_of + at * words + word, mask=inside, other=0))
        down = tl.load(negative + at, mask=inside, other=0) != 0
        late, plus, minus = late | (fires & spare), plus | tl.where(down, 0, fires), minus | tl.where(down, fires, 0)
    return tl.max((late != 0).to(tl.int32)), tl.max((plus != 0).to(tl.int32)), tl.max((minus != 0).to(tl.int32))


@triton.jit
def _firing(words_of, lines, sample, word, words, slot, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return how many lines fire in a slot."""
    count = tl.zeros([block], tl.int32)
    for start in range(0, lines, block):
        line = start + tl.arange(0, block)
        at = sample.to(tl.int64) * lines + line
        fires = as_word(tl.load(words_of + at * words + word, mask=line < lines, other=0))
        count += ((fires >> tl.cast(slot, tl.uint32)) & 1).to(tl.int32)
    return tl.sum(count).to(tl.int64)


@triton.jit(do_not_specialize=["n_in", "n_out", "words"], do_not_specialize_on_alignment=_OUT)
def look_kernel(  # type: ignore[no-untyped-def]
    x_words, d_words, x_negative, d_negative, facts, n_in, n_out, words, block: tl.constexpr
):
    """Fill in the facts of one sample; see `Drawn`."""
    sample = tl.program_id(0)
    bl = tl.load(facts + sample * 8).to(tl.int32)
    x_up, x_down, d_up, d_down, late = bl * 0, bl * 0, bl * 0, bl * 0, bl * 0
    fired, met = bl.to(tl.int64) * 0, bl.to(tl.int64) * 0
    for word in range(words):
        used = tl.minimum(tl.maximum(bl - 32 * word, 0), 32)
        spare = (((tl.cast(0, tl.int64) + 0xFFFFFFFF) << used.to(tl.int64)) & 0xFFFFFFFF).to(tl.uint32)
        x_late, x_plus, x_minus = _signs(x_words, x_negative, n_in, sample, word, words, spare, block)
        d_late, d_plus, d_minus = _signs(d_words, d_negative, n_out, sample, word, words, spare, block)
        late = late | x_late | d_late
        x_up, x_down, d_up, d_down = x_up | x_plus, x_down | x_minus, d_up | d_plus, d_down | d_minus
        for slot in range(used):
            x_lines = _firing(x_words, n_in, sample, word, words, slot, block)
            d_lines = _firing(d_words, n_out, sample, word, words, slot, block)
            fired += x_lines + d_lines
            met += x_lines * d_lines
    at = facts + sample * 8
    tl.store(at + 2, late.to(tl.int64))
    tl.store(at + 3, fired)
    tl.store(at + 4, met)
    tl.store(at + 5, ((x_up + x_down) * (d_up + d_down)).to(tl.int64))
    tl.store(at + 6, ((x_up & d_up) | (x_down & d_down)).to(tl.int64))
    tl.store(at + 7, ((x_up & d_down) | (x_down & d_up)).to(tl.int64))
