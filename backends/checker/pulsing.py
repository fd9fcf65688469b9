"""Pulses: polarity, repetition, kinds, and the ports of cells of two devices."""

import math

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckFailedError, CheckSkippedError, require, trains
from rpudriver.errors import StepError
from rpudriver.types import Cell, Port, Pulse


def polarity(bench: Bench) -> None:
    """A pulse moves a weight up where the signs of its lines agree and down where they differ."""
    array = bench.square()
    rows, columns = bench.halves(array.n_out), bench.halves(array.n_in)
    agree = rows[:, None] == columns[None, :]
    full = bench.pushes(array, bench.push)[0].trains
    signed = type(full)(
        full.x_words, full.d_words, columns.expand(len(full), -1), rows.expand(len(full), -1).contiguous(), full.bl
    )
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, signed)])
    change = bench.weights(array) - before
    for row in (True, False):
        for column in (True, False):
            part = change[rows == row][:, columns == column]
            what = f"devices with d {'< 0' if row else '> 0'} and x {'< 0' if column else '> 0'}"
            if row == column:
                bench.moved_up(part, what)
            else:
                bench.stayed(part, f"at the lower bound, {what}")
    bench.drive(array, bench.push)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, signed)])
    change = bench.weights(array) - before
    bench.moved_down(change[~agree], "devices whose lines have different signs")


def repeat_honoured(bench: Bench) -> None:
    """Trains with repeat = n do the same as trains sent n times."""
    array = bench.square()
    one = trains(torch.ones(1, array.n_in, 1) > 0, torch.ones(1, array.n_out, 1) > 0)
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, one, repeat=bench.push)])
    bench.moved_up(bench.weights(array) - before, f"devices pulsed with repeat = {bench.push}")
    bench.to_bottom(array)
    bench.to_bottom(array)  # as near the end of the range as the second time
    count = max(1, bench.push // 4)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, one, repeat=count)])
    repeated = float((bench.weights(array) - before).mean())
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.drive(array, count)
    in_slots = float((bench.weights(array) - before).mean())
    same_change(bench, repeated, in_slots, f"repeat = {count}", f"{count} slots")


def same_change(bench: Bench, found: float, wanted: float, what: str, reference: str) -> None:
    """Fail unless two mean changes agree to 30 % or a twelfth of the range, whichever is less strict.

    Write noise of 1.4 steps at 20 states moves the difference of two mean changes of 64 devices by a fiftieth.
    """
    slack = max(0.3 * abs(wanted), bench.span / 12 + bench.rounding / 2)
    require(abs(found - wanted) < slack, f"{what} moved devices by {found:.3g}, {reference} by {wanted:.3g}")


def empty_trains(bench: Bench) -> None:
    """Samples of BL 0, and slots in which only rows or only columns fire, move nothing."""
    array = bench.square()
    slots = min(bench.capabilities.longest_bl, bench.push)
    ones_x, ones_d = torch.ones(1, array.n_in, slots) > 0, torch.ones(1, array.n_out, slots) > 0
    repeat = math.ceil(bench.push / slots)
    bench.to_bottom(array)
    before = bench.weights(array)
    for what, x, d in (("columns", ones_x, ~ones_d), ("rows", ~ones_x, ones_d), ("no lines", ~ones_x, ~ones_d)):
        bench.chip.run([Pulse(array, trains(x, d), repeat=repeat)])
        bench.stayed(bench.weights(array) - before, f"devices where {what} fire alone")
    bench.chip.run([Pulse(array, trains(ones_x[:, :, :0], ones_d[:, :, :0]), repeat=3)])
    bench.chip.run([Pulse(array, trains(ones_x[:0], ones_d[:0]))])
    bench.stayed(bench.weights(array) - before, "devices after trains of BL 0 and of no samples")


def kinds_declared(bench: Bench) -> None:
    """A kind of pulse moves by its declared strength, and only in its declared polarity."""
    others = sorted(set(bench.capabilities.kinds) - {"update"})
    if not others:
        raise CheckSkippedError("the chip has update pulses only")
    array = bench.square()
    too_strong = []
    for name in others:
        kind = bench.capabilities.kinds[name]
        down = kind.polarity == "down"
        lines = torch.ones(1, array.n_in, 1) > 0, torch.ones(1, array.n_out, 1) > 0
        if kind.polarity != "both":
            wrong = trains(*lines, d_negative=torch.full((1, array.n_out), not down))
            try:
                bench.chip.run([Pulse(array, wrong, name)])
            except StepError:
                pass
            else:
                raise CheckFailedError(f"kind {name!r} goes {kind.polarity}, but pulses the other way were not refused")
        strong = round(bench.push / 4 / kind.strength)
        if strong < 2:  # within a single long step the response changes too much for a comparison
            too_strong.append(name)
            continue
        right = trains(*lines, d_negative=torch.full((1, array.n_out), down))
        updates = round(strong * kind.strength)
        found = _change_from_end(bench, [Pulse(array, right, name, repeat=strong)], down)
        wanted = _change_from_end(bench, bench.pushes(array, -updates if down else updates), down)
        same_change(bench, found, wanted, f"{strong} pulses of kind {name!r}", f"{updates} updates")
    if len(too_strong) == len(others):
        raise CheckSkippedError(f"one pulse of {', '.join(too_strong)} is more than an eighth of the range")


def _change_from_end(bench: Bench, steps: list[Pulse], down: bool) -> float:
    """Return the mean change that steps make, from the end of the range that they lead away from."""
    array = steps[0].array
    bench.to_bottom(array)
    if down:
        bench.drive(array, bench.push)
    before = bench.weights(array)
    bench.chip.run(steps)
    return float((bench.weights(array) - before).mean())


def reference_port(bench: Bench) -> None:
    """In cells with a reference, pulses up raise the weight on the port device and lower it on the port reference."""
    array = bench.square("referenced", Cell.REFERENCE)
    _both_to_bottom(bench, array.name, Cell.REFERENCE)
    before = bench.weights(array)
    bench.drive(array, bench.push)
    middle = bench.weights(array)
    bench.moved_up(middle - before, "weights pulsed up on the port device")
    bench.counted(array, torch.full(array.shape, bench.push), Port.REFERENCE)
    bench.moved_down(bench.weights(array) - middle, "weights pulsed up on the port reference")


def reference_held(bench: Bench) -> None:
    """In cells with a reference, pulses on the port device leave the reference where it is."""
    array = bench.square("referenced", Cell.REFERENCE)
    _both_to_bottom(bench, array.name, Cell.REFERENCE)
    # The reference in the middle has room either way; the device is at its lower end and stays there.
    bench.counted(array, torch.full(array.shape, max(1, bench.push // 3)), Port.REFERENCE)
    before = bench.weights(array)
    bench.to_bottom(array)
    bench.stayed(bench.weights(array) - before, "weights whose device is pulsed down at its lower bound")


def _both_to_bottom(bench: Bench, name: str, cell: Cell) -> None:
    array = bench.square(name, cell)
    bench.to_bottom(array)
    bench.to_bottom(array, Port.REFERENCE)


def pair_ports(bench: Bench) -> None:
    """In pairs, a pulse on the port device moves both, on the port reference the second alone, by half as much."""
    array = bench.square("pairs", Cell.PAIR)
    bench.to_bottom(array)  # the first device low, its partner high
    bench.counted(array, torch.full(array.shape, bench.push), Port.REFERENCE)
    before = bench.weights(array)
    bench.counted(array, torch.full(array.shape, -bench.push), Port.REFERENCE)  # the partner low as well
    half = float((bench.weights(array) - before).mean())
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.drive(array, bench.push)
    full = float((bench.weights(array) - before).mean())
    bench.moved_up(torch.tensor([full]), "pairs pulsed up on the port device")
    require(
        0.3 * full < half < 0.7 * full,
        f"the partner moved the weight by {half:.3g}, both devices by {full:.3g}: half of it is expected",
    )


CHECKS = (
    Check("polarity", polarity, "The sign is flipped: up where d_negative == x_negative, down where they differ."),
    Check("repeat-honoured", repeat_honoured, "Pulse.repeat is ignored, or applied once too often."),
    Check("empty-trains", empty_trains, "Half-selected devices move: a device needs both of its lines in one slot."),
    Check("kinds-declared", kinds_declared, "Pulse.kind is ignored, or its declared strength is not the chip's."),
    Check("reference-port", reference_port, "Pulse.port is ignored: it says which device of the cell is reached."),
    Check("reference-held", reference_held, "Pulses on the port device reach the reference, too; it must be held."),
    Check("pair-ports", pair_ports, "A pair is half the difference of two devices, and `device` moves both apart."),
)
