"""Coincidences: a device sees a pulse in exactly those slots in which both of its lines fire."""

import math

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckSkippedError, trains
from rpudriver.backends.checker.pulsing import same_change
from rpudriver.types import Array, Pulse, PulseTrains


def coincidences_shared(bench: Bench) -> None:
    """All devices of a line share its slots: only pairs of lines that fire together move, their neighbours stay."""
    array, slots = bench.square(), _slots(bench, 40)
    even = torch.arange(slots) % 2 == 0
    odd_rows, odd_columns = torch.arange(array.n_out) % 2 == 1, torch.arange(array.n_in) % 2 == 1
    d, x = even != odd_rows[:, None], even != odd_columns[:, None]  # even lines in even slots, odd lines in odd ones
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([_train(bench, array, x, d, bench.push * slots // max(1, slots // 2))])
    change = bench.weights(array) - before
    together = odd_rows[:, None] == odd_columns[None, :]
    bench.moved_up(change[together], "devices whose lines fire in the same slots")
    bench.stayed(change[~together], "devices whose lines never fire together")


def coincidences_counted(bench: Bench) -> None:
    """The change depends on the number of coincidences alone, however they come about."""
    array, pulses = bench.square(), max(1, math.ceil(bench.push / 4))
    slots = _slots(bench, min(64, 8 * math.ceil(pulses / 2))) // 8 * 8
    if slots < 8:
        raise CheckSkippedError(f"needs trains of 8 slots; this chip's longest BL is {bench.capabilities.longest_bl}")
    s = torch.arange(slots)
    patterns = {  # every one has a quarter of the slots in common
        "the same quarter of the slots": (s % 4 == 0, s % 4 == 0),
        "all slots and a quarter of them": (s >= 0, s % 4 == 1),
        "a quarter of the slots and all of them": (s < slots // 4, s >= 0),
        "overlapping parts": (s < 5 * slots // 8, s >= 3 * slots // 8),
    }
    changes = {}
    for what, (x, d) in patterns.items():
        bench.to_bottom(array)
        before = bench.weights(array)
        x_all, d_all = x.expand(array.n_in, -1), d.expand(array.n_out, -1)
        repeat = max(1, round(4 * pulses / slots))
        bench.chip.run([Pulse(array, _one(x_all, d_all), repeat=repeat)])
        changes[what] = float((bench.weights(array) - before).mean())
    first = next(iter(changes))
    for what, change in changes.items():
        same_change(bench, change, changes[first], what, first)


def every_word_counts(bench: Bench) -> None:
    """Slots beyond the first 32 act like the first, up to the last slot of the train."""
    if bench.capabilities.longest_bl < 33:
        raise CheckSkippedError(f"the longest BL of this chip is {bench.capabilities.longest_bl}: one word holds it")
    array, slots = bench.square(), min(bench.capabilities.longest_bl, 70)
    late = (torch.arange(slots) >= 32).expand(array.n_out, -1)
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([_train(bench, array, late, late, bench.push * slots // (slots - 32))])
    bench.moved_up(bench.weights(array) - before, "devices pulsed in slots from 32 on")
    last = (torch.arange(slots) == slots - 1).expand(array.n_out, -1)
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, _one(last, last), repeat=bench.push)])
    bench.moved_up(bench.weights(array) - before, f"devices pulsed in the last of {slots} slots")


def _slots(bench: Bench, wanted: int) -> int:
    """Return an even number of slots, at most `wanted`, that the chip can send and a push can use."""
    slots = min(wanted, bench.capabilities.longest_bl) // 2 * 2
    if slots < 2:
        raise CheckSkippedError("the longest BL of this chip is 1: a train has no slots to tell apart")
    return slots


def _one(x: torch.Tensor, d: torch.Tensor) -> PulseTrains:
    return trains(x[None], d[None])


def _train(bench: Bench, array: Array, x: torch.Tensor, d: torch.Tensor, slots: int) -> Pulse:
    """Return one train of slots ``x [n_in, S]`` and ``d [n_out, S]``, repeated until `slots` slots have passed."""
    return Pulse(array, _one(x, d), repeat=math.ceil(slots / x.shape[1]))


CHECKS = (
    Check(
        "coincidences-shared",
        coincidences_shared,
        "Coincidences are drawn for each device by itself, or rows and columns are not in step: AND the words.",
    ),
    Check(
        "coincidences-counted",
        coincidences_counted,
        "Pulses are counted from the firing rates of the lines instead of from the slots that they share.",
    ),
    Check("every-word-counts", every_word_counts, "Only the first word is used, or bit s is not slot s of a word."),
)
