"""Nothing is sent before arm(), beyond the limits, or out of range; and what is sent is counted."""

from collections.abc import Sequence

import torch

from rpudriver.backends.checker.bench import (
    Bench,
    Check,
    CheckFailedError,
    CheckSkippedError,
    converter_step,
    require,
    trains,
)
from rpudriver.backends.validation import Limits
from rpudriver.errors import LimitError, NotArmedError, RpuDriverError, StepError
from rpudriver.types import Array, Pulse, Read, Step, Wait


def needs_arming(bench: Bench) -> None:
    """Pulses and reads are refused before arm(), after idle() and after close()."""
    chip = bench.reopen(arm=False)
    array = bench.square()
    require(not chip.status().armed, "status() says armed on a chip that was just opened")
    _refused(bench, array, bench.pushes(array, 1), NotArmedError, "a pulse before arm()")
    chip.arm()
    require(chip.status().armed, "status() says not armed after arm()")
    bench.to_bottom(array)
    before = bench.weights(array)
    chip.idle()
    require(not chip.status().armed, "status() says armed after idle()")
    _refused(bench, array, bench.pushes(array, bench.push), NotArmedError, "pulses after idle()")
    _refused(bench, array, [Read(((array, 1.0),), torch.zeros(1, array.n_in))], NotArmedError, "a read after idle()")
    chip.arm()
    bench.stayed(bench.weights(array) - before, "weights after pulses that were refused")
    chip.close()
    chip.close()
    _refused(bench, array, bench.pushes(array, 1), NotArmedError, "a pulse after close()")


def limits_honoured(bench: Bench) -> None:
    """Steps beyond the armed limits raise LimitError and the weights stay as they are."""
    array = bench.square()
    bench.to_bottom(array)
    before = bench.weights(array)
    limits = Limits(max_bl=1, max_device_pulses=1)
    bench.chip.arm(limits)
    require(bench.chip.status().limits == limits, f"status() says {bench.chip.status().limits}, armed was {limits}")
    columns, rows = torch.ones(1, array.n_in, 1) > 0, torch.ones(1, array.n_out, 1) > 0
    push = Pulse(array, trains(columns, rows), repeat=max(2, bench.push))
    _refused(bench, array, [push], LimitError, f"{push.repeat} pulses where 1 is armed")
    if bench.capabilities.longest_bl > 1:
        _refused(bench, array, bench.pushes(array, bench.push), LimitError, "a longer train than armed")
    others = sorted(set(bench.capabilities.kinds) - {"update"})
    if others:
        bench.chip.arm(Limits(kinds=frozenset({"update"})))
        kind = bench.capabilities.kinds[others[0]]
        down = torch.full((1, array.n_out), kind.polarity == "down")
        step = Pulse(array, trains(columns, rows, d_negative=down), others[0])
        _refused(bench, array, [step], LimitError, f"a pulse of kind {others[0]!r} where only 'update' is armed")
    bound = bench.capabilities.input_bound
    bench.chip.arm(Limits(max_input=bound / 2))
    x = torch.full((1, array.n_in), bound)
    _refused(bench, array, [Read(((array, 1.0),), x)], RpuDriverError, "an input of twice what is armed")
    bench.chip.arm()
    bench.stayed(bench.weights(array) - before, "weights after pulses beyond the limits")


def limits_within_chip(bench: Bench) -> None:
    """Limits and trains beyond what the chip declares are refused."""
    array, capabilities = bench.square(), bench.capabilities
    try:
        bench.chip.arm(Limits(max_bl=capabilities.longest_bl + 1))
    except LimitError:
        pass
    else:
        raise CheckFailedError(
            f"arm() took max_bl = {capabilities.longest_bl + 1}; the chip declares {capabilities.longest_bl}"
        )
    if capabilities.longest_bl > 1 << 20:
        raise CheckSkippedError(f"a train beyond the longest BL of {capabilities.longest_bl} is too large to build")
    slots = torch.ones(1, array.n_in, capabilities.longest_bl + 1) > 0
    _refused(bench, array, [Pulse(array, trains(slots, slots))], LimitError, "a train longer than the chip can send")


def bad_steps_refused(bench: Bench) -> None:
    """One bad step refuses the whole sequence: nothing of it is sent, nothing is counted."""
    array, bound = bench.square(), bench.capabilities.input_bound
    bench.to_bottom(array)
    before = bench.weights(array)
    cost = bench.chip.status().cost
    good = bench.pushes(array, bench.push)
    for what, x in (
        ("an input beyond the bound", torch.full((1, array.n_in), 1.01 * bound)),
        ("a NaN", torch.full((1, array.n_in), float("nan"))),
        ("an input of the wrong length", torch.zeros(1, array.n_in + 1)),
        ("an input in double precision", torch.zeros(1, array.n_in, dtype=torch.float64)),
    ):
        _refused(bench, array, [*good, Read(((array, 1.0),), x)], StepError, what)
    _refused(bench, array, [*good, Pulse(array, good[0].trains, "no such kind")], StepError, "an unknown pulse kind")
    _refused(bench, array, [*good, Wait(-1.0)], StepError, "a negative wait")
    now = bench.chip.status().cost
    require(now == cost, f"refused steps were counted: {cost} became {now}")
    bench.stayed(bench.weights(array) - before, "weights after refused sequences")


def _refused(bench: Bench, array: Array, steps: Sequence[Step], error: type[RpuDriverError], what: str) -> None:
    try:
        bench.chip.run(steps)
    except error:
        return
    except RpuDriverError as other:
        raise CheckFailedError(f"{what} raised {type(other).__name__} instead of {error.__name__}: {other}") from None
    raise CheckFailedError(f"{what} was not refused")


def cost_counted(bench: Bench) -> None:
    """status().cost counts samples, line pulses, coincidences, reads and chip time of what was sent."""
    array, slots = bench.square(), min(3, bench.capabilities.longest_bl)
    x, inputs = torch.zeros(1, array.n_in, slots, dtype=torch.bool), torch.zeros(5, array.n_in)
    inputs[:, -1] = bench.capabilities.input_bound / 2
    bench.chip.read_matvec(array, inputs)  # the device that is read last is the one that is led to
    before = bench.chip.status().cost
    x[0, 0] = True  # one column fires in every slot, two rows in the first
    d = torch.zeros(1, array.n_out, slots, dtype=torch.bool)
    d[0, :2, 0] = True
    read = Read(((array, 1.0),), inputs)
    bench.chip.run([Pulse(array, trains(x, d), repeat=4), read, Wait(0.25)])
    now = bench.chip.status().cost
    chip, parallel = bench.capabilities, bench.capabilities.parallel_pulses
    passing = 4 * slots if parallel else 8  # else each pulse of a device has a slot and two lines for itself
    readings = 5 if chip.parallel_reads else 5 * array.n_out  # else each of the devices at the input that is driven
    time = passing * (chip.kinds["update"].width_s + chip.slot_gap_s) + readings * chip.read_time_s + 0.25
    time += (2 + array.n_out) * chip.switch_time_s  # to the two devices that are pulsed, then to those that are read
    for key, expected in (
        ("samples", 4.0),
        ("line_pulses", 4.0 * (slots + 2) if parallel else 2 * 8.0),
        ("coincidences", 8.0),
        ("reads", 5.0),
        ("chip_time_s", time),
    ):
        found = now[key] - before[key]
        require(abs(found - expected) <= 1e-9 + 1e-6 * expected, f"{key} rose by {found}, sent was {expected}")


def write_approaches(bench: Bench) -> None:
    """write() moves the weights towards the target and returns what it reached."""
    array = bench.square(side=4)
    device = bench.capabilities.device
    bench.to_bottom(array)
    target = torch.where(torch.eye(array.n_in) > 0, 0.4 * device.w_max, 0.4 * device.w_min)
    before = (bench.weights(array) - target).abs().mean()
    achieved = bench.chip.write(array, target)
    require(tuple(achieved.shape) == array.shape, f"write() returned {list(achieved.shape)} for {array.shape}")
    now = bench.weights(array)
    after, told = (now - target).abs().mean(), (now - achieved.cpu()).abs().mean()
    nearest = max(0.7 * float(before), device.dw_min)
    require(float(after) < nearest, f"mean distance from the target was {before:.3g}, is {after:.3g} after write()")
    slack = bench.span / 8 + converter_step(bench.capabilities.output_bits, bench.capabilities.output_bound)
    require(float(told) < slack, f"write() tells of weights that are off by {told:.3g} from those read afterwards")


CHECKS = (
    Check("needs-arming", needs_arming, "Call super().arm() and super().idle() where you override them."),
    Check(
        "limits-honoured",
        limits_honoured,
        "arm() drops the limits: pass them to super().arm(limits), and let no default widen them.",
    ),
    Check("limits-within-chip", limits_within_chip, "arm() is overridden without super().arm(limits)."),
    Check("bad-steps-refused", bad_steps_refused, "Steps are sent before all of them have been validated."),
    Check("cost-counted", cost_counted, "The meter is bypassed: send steps through run() alone."),
    Check("write-approaches", write_approaches, "write() has the wrong sign, axis order or scale of a step."),
)
