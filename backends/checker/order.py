"""Order: samples and steps take effect one after the other, each once."""

import math

import torch

from rpudriver.backends.checker.bench import Bench, Check, require, trains
from rpudriver.backends.checker.pulsing import same_change
from rpudriver.types import Array, Pulse, PulseTrains, Read, Scan, Step, Wait

SURE = 5.0  # standard errors that a difference may have: a sound chip fails one comparison in 1.7 million
WRITE_STEPS = 2.0  # noise of a state that was written, in steps, which no chip declares; published devices have 1.4


def sample_order(bench: Bench) -> None:
    """Samples of one step take effect in order: up then down ends low, down then up ends high, as in two steps."""
    array = bench.square()
    slack, rounds = _slack(bench, array)
    for signs in ((False, True), (True, False)):
        both = [Pulse(array, _signed(bench, array, signs))]
        apart = [
            pulse for down in signs for pulse in bench.pushes(array, -bench.long_push if down else bench.long_push)
        ]
        start, *ends = (torch.zeros(array.shape, dtype=torch.float64) for _ in range(3))
        for _ in range(rounds):
            for end, steps in zip(ends, (both, apart), strict=True):
                bench.to_bottom(array)
                bench.to_bottom(array)  # as near the end of the range as the second time
                start += bench.weights(array) / (2 * rounds)
                bench.chip.run(steps)
                end += bench.weights(array) / rounds
        what = "down, then up" if signs[0] else "up, then down"
        if signs[0]:
            bench.moved_up(ends[0] - start, f"devices at the lower bound pulsed {what},")
        found, wanted = (float(end.mean()) for end in ends)
        require(
            abs(found - wanted) < slack,
            f"samples {what} in one step end at {found:.3g}, in two steps at {wanted:.3g}; "
            f"{slack:.2g} is {SURE:g} standard errors of the mean of {array.n_out * array.n_in} devices",
        )


def _slack(bench: Bench, array: Array) -> tuple[float, int]:
    """Return by how much the mean ends of all devices may differ, and how often to go there: a quarter of the range.

    An end is known to the error of its read, the noise of its state and that of the pulses that it remembers: of more
    than it has states nothing is left at the bound.
    """
    device = bench.capabilities.device
    pulses = device.c2c * math.sqrt(bench.push)
    one = math.hypot(bench.span / 40, device.dw_min * math.hypot(WRITE_STEPS, pulses))
    slack = SURE * one * math.sqrt(2 / (array.n_out * array.n_in))
    rounds = math.ceil((slack / (bench.span / 4)) ** 2)
    return slack / math.sqrt(rounds) + bench.rounding / bench.amplitude, rounds


def _signed(bench: Bench, array: Array, negative: tuple[bool, bool]) -> PulseTrains:
    """Return two pushes in one batch, with the signs of d given."""
    ups = bench.pushes(array, bench.long_push)[0].trains
    signs = torch.tensor(negative).repeat_interleave(len(ups))[:, None]
    return PulseTrains(
        torch.cat([ups.x_words.view(torch.int32)] * 2).view(torch.uint32),
        torch.cat([ups.d_words.view(torch.int32)] * 2).view(torch.uint32),
        torch.cat([ups.x_negative] * 2),
        signs.expand(-1, array.n_out).contiguous(),
        torch.cat([ups.bl] * 2),
    )


def repeat_order(bench: Bench) -> None:
    """A batch with repeat = n is applied whole, n times: down and up in turn, not all down and then all up."""
    array, pairs = bench.square(), bench.push
    lines = torch.ones(2, array.n_in, 1) > 0, torch.ones(2, array.n_out, 1) > 0
    pair = trains(*lines, d_negative=torch.tensor([True, False])[:, None].repeat(1, array.n_out))
    changes = []
    for steps in ([Pulse(array, pair, repeat=pairs)], [Pulse(array, pair)] * pairs):
        bench.to_bottom(array)
        bench.to_bottom(array)  # as near the end of the range as the second time
        before = bench.weights(array)
        bench.chip.run(steps)
        changes.append(float((bench.weights(array) - before).mean()))
    same_change(
        bench,
        changes[0],
        changes[1],
        f"{pairs} pairs of a pulse down and one up by repeat",
        "the same pairs one by one",
    )


def waiting(bench: Bench) -> None:
    """A wait is a step like any other: it brings no result, and what was programmed is still there after it."""
    array = bench.square()
    bench.pattern(array, bench.halves(array.n_out)[:, None].expand(array.shape))
    before = bench.weights(array)
    read = Read(((array, 1.0),), torch.zeros(1, array.n_in))
    results = bench.chip.run([read, Wait(0.0), Wait(0.01), read])
    require(len(results) == 2, f"two reads and two waits brought {len(results)} results; two are expected")
    change = bench.weights(array) - before
    high = bench.halves(array.n_out)
    for part, what in ((change[high], "near the upper end"), (change[~high], "near the lower end")):
        bench.stayed(part, f"devices {what}, after 0.01 s,")


def step_order(bench: Bench) -> None:
    """Steps of one sequence take effect in order: a read sees the pulses before it and none after it."""
    array, other = bench.square(), bench.square("other")
    bench.to_bottom(array)
    bench.to_bottom(other)
    one_hot = torch.eye(array.n_in) * bench.amplitude
    repeats = bench.repeats(bench.span / 40 * bench.amplitude, array.n_in)
    read = Read(((array, 1.0),), one_hot.repeat(repeats, 1))
    up, down = bench.pushes(array, bench.push), bench.pushes(array, -bench.push)
    steps: list[Step] = [read, *up, read, *bench.pushes(other, bench.push), *down, read, *up, read]
    reads = [result.values.cpu().double().mean() / bench.amplitude for result in bench.chip.run(steps)]
    low, high, low_again, high_again = (value.view(1) for value in reads)
    bench.moved_up(high - low, "weights read after pulses up")
    bench.moved_down(low_again - high, "weights read after pulses down")
    bench.moved_up(high_again - low_again, "weights read after pulses up again")


def steps_once(bench: Bench) -> None:
    """Every step takes effect once, the last one too."""
    array, count = bench.square(), max(1, bench.push // 6)
    changes = []
    for tail in ([Wait(0.0)], []):
        bench.to_bottom(array)
        before = bench.weights(array)
        steps: list[Step] = [*bench.pushes(array, count), *tail]
        bench.chip.run(steps)
        changes.append(float((bench.weights(array) - before).mean()))
    same_change(bench, changes[1], changes[0], "pulses as the last step", "the same pulses before another step")
    slots = torch.ones(1, array.n_in, 1) > 0
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.chip.run([Pulse(array, trains(slots, slots))] * count)
    singles = float((bench.weights(array) - before).mean())
    same_change(bench, singles, changes[0], f"{count} steps of one pulse", f"one step of {count}")


def scan_places(bench: Bench) -> None:
    """A scan reads the columns it names, each after as many samples as it says."""
    array = bench.square()
    left = bench.halves(array.n_in)
    push = bench.pushes(array, bench.push, columns=left)[0].trains  # only the left columns move
    bench.to_bottom(array)
    repeats = bench.repeats(bench.span / 40 * bench.amplitude, array.n_in)
    columns = torch.arange(array.n_in).repeat(2 * repeats)
    after = torch.tensor([0, len(push)]).repeat_interleave(array.n_in * repeats)
    (result,) = bench.chip.run([Scan(array, push, columns, after, bench.amplitude)])
    shape = (2, repeats, array.n_in, array.n_out)
    read = result.values.cpu().double().reshape(shape).mean(1) / bench.amplitude
    bench.moved_up((read[1] - read[0])[left], "columns that a scan pulses, read at its start and at its end,")
    bench.stayed((read[1] - read[0])[~left], "columns that a scan does not pulse")
    bench.stayed(bench.weights(array).t() - read[1], "weights after a scan, against its last reads,")


CHECKS = (
    Check("repeat-order", repeat_order, "Every sample is repeated by itself: repeat the whole batch instead."),
    Check("waiting", waiting, "Wait is not handled by _execute, or devices are reset or disconnected meanwhile."),
    Check(
        "sample-order",
        sample_order,
        "Pulses of a batch are summed up or reordered: devices saturate, so samples must act one after the other.",
    ),
    Check("step-order", step_order, "Steps are sorted by kind, or all reads are made at the end of the sequence."),
    Check(
        "scan-places",
        scan_places,
        "A scan's reads are made before or after all of its pulses, or of columns in another order.",
    ),
    Check("steps-once", steps_once, "The last step is sent twice (or the first not at all): look at the loop's ends."),
)
