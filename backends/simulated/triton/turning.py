"""Turning trains: from words that hold 32 slots of one sample to words that hold one slot of 32 samples."""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from rpudriver.keyed.gpu import as_word, blocks, launch

GROUP = 32  # samples of a word
LINES = 64  # lines that a program turns
_GROUP = tl.constexpr(GROUP)


def room_for(pieces: int, n_in: int, n_out: int, slots: int, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return memory for the turned trains of x and d: int32 ``[groups, slots + 1, n]``, the slots and then the signs.

    Parameters
    ----------
    pieces : number of words of each line: samples times words of a sample.
    """
    groups = blocks(pieces, GROUP)
    x, d = (torch.empty((groups, slots + 1, lines), dtype=torch.int32, device=where) for lines in (n_in, n_out))
    return x, d


def turn(trains: Sequence[torch.Tensor], slots: int, out: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Turn the trains of x and d. Words of a sample count as samples of their own, one after the other.

    Parameters
    ----------
    trains : x_words, d_words (int32 ``[B, n, W]``), x_negative and d_negative (uint8 ``[B, n]``), contiguous.
    slots : how many slots of a word are ever used, up to 32.
    out : see `room_for`; may be larger.
    """
    (samples, n_in, words), n_out = trains[0].shape, trains[1].shape[1]
    if samples:
        grid = blocks(samples * words, GROUP), blocks(n_in, LINES) + blocks(n_out, LINES), slots + 1
        launch(turn_kernel, grid, (*trains, *out, samples * words, n_in, n_out, words, slots), (LINES,))


@triton.jit
def _places(lines, line, samples, words, group, bit):  # type: ignore[no-untyped-def]
    """Return where the lines of a sample lie in arrays ``[B, n]``, which word it is, and which lines exist."""
    piece = group * _GROUP + bit
    return (piece // words).to(tl.int64) * lines + line, piece % words, line < tl.where(piece < samples, lines, 0)


# fmt: off
@triton.jit
def _turn_side(  # type: ignore[no-untyped-def]
    words_of, negative, out, samples, lines, words, slots, group, start, slot, block: tl.constexpr
):
    # fmt: on
    line = start + tl.arange(0, block)
    turned = tl.zeros([block], tl.uint32)
    if slot < slots:
        for bit in tl.static_range(_GROUP):
            at, word, inside = _places(lines, line, samples, words, group, bit)
            fires = as_word(tl.load(words_of + at * words + word, mask=inside, other=0))
            turned = turned | (((fires >> slot.to(tl.uint32)) & 1) << bit)
    else:
        for bit in tl.static_range(_GROUP):
            at, _, inside = _places(lines, line, samples, words, group, bit)
            turned = turned | (tl.load(negative + at, mask=inside, other=0).to(tl.uint32) << bit)
    at = out + (group.to(tl.int64) * (slots + 1) + slot) * lines + line
    tl.store(at, turned.to(tl.int32, bitcast=True), mask=line < lines)


_TENSORS = ("x_words", "d_words", "x_negative", "d_negative", "x", "d")


# fmt: off
@triton.jit(
    do_not_specialize=["samples", "n_in", "n_out", "words", "slots"], do_not_specialize_on_alignment=_TENSORS
)
def turn_kernel(  # type: ignore[no-untyped-def]
    x_words, d_words, x_negative, d_negative, x, d, samples, n_in, n_out, words, slots, block: tl.constexpr,
):
    # fmt: on
    """Turn one slot, or the signs, of `block` lines in one group of samples; blocks of x come before those of d."""
    group, part, slot = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    of_x = tl.cdiv(n_in, block)
    if part < of_x:
        _turn_side(x_words, x_negative, x, samples, n_in, words, slots, group, part * block, slot, block)
    else:
        _turn_side(d_words, d_negative, d, samples, n_out, words, slots, group, (part - of_x) * block, slot, block)
