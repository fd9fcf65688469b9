"""The nominal device: mean step, its spread from pulse to pulse, and the bounds, as declared.

Steps are too small to be seen one by one, so bursts of pulses go to a whole array, alternately up and down around the
middle of the range, and its rows are read as sums: a sum over n devices is n times larger than one device's change,
and its spread sqrt(n) times.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckSkippedError, require, trains
from rpudriver.types import Array, Pulse, PulseTrains

BURSTS = 48  # up and down bursts of one series
WARM_UP = 10  # bursts before them, in which devices leave their bounds and settle into the rhythm
SIDE = 32

Form = Callable[[Array, int, bool], Pulse]


def _lines(array: Array, samples: int, slots: int, down: bool) -> PulseTrains:
    return trains(
        torch.ones(samples, array.n_in, slots) > 0,
        torch.ones(samples, array.n_out, slots) > 0,
        d_negative=torch.full((samples, array.n_out), down),
    )


def _slots(array: Array, count: int, down: bool) -> Pulse:
    return Pulse(array, _lines(array, 1, count, down))


def _samples(array: Array, count: int, down: bool) -> Pulse:
    return Pulse(array, _lines(array, count, 1, down))


def _repeats(array: Array, count: int, down: bool) -> Pulse:
    return Pulse(array, _lines(array, 1, 1, down), repeat=count)


@dataclass(frozen=True)
class Series:
    """Changes of row sums in alternating bursts.

    Attributes
    ----------
    step : mean size of the change of one device, chip units.
    variance : of the change of a row sum, the trend of a row taken out; reads included.
    """

    step: float
    variance: float


def _centred(bench: Bench) -> Array:
    """Return an array whose devices are near the middle of the range, or at rest near their symmetry point."""
    array = bench.square(side=SIDE)
    bench.to_bottom(array)
    bench.drive(array, max(1, bench.push // 2))
    pair = trains(
        torch.ones(2, array.n_in, 1) > 0,
        torch.ones(2, array.n_out, 1) > 0,
        d_negative=torch.tensor([[False], [True]]).expand(2, array.n_out).contiguous(),
    )
    bench.chip.run([Pulse(array, pair, repeat=max(1, bench.push // 2))])
    return array


def _burst(bench: Bench) -> int:
    """Return the pulses of a burst: a tenth of half the range, so that the response changes little over it."""
    device = bench.capabilities.device
    count = int(0.15 * min(device.w_max, -device.w_min) / device.dw_min)
    return max(1, min(count, bench.capabilities.longest_bl, 64))


def _series(bench: Bench, array: Array, count: int, form: Form, error: float) -> Series:
    """Return what bursts of `count` pulses do; every row sum is read to a standard error."""
    # the bound of the converter leaves room for one or for many devices at full input
    bound, largest = bench.capabilities.output_bound, bench.span / 2 * math.sqrt(array.n_in)
    scale = min(1.0, 1.0 if bound is None else 0.5 * bound / (largest * bench.amplitude))
    x = torch.full((1, array.n_in), bench.amplitude * scale)
    repeats = bench.repeats(error * bench.amplitude * scale, BURSTS)
    bench.chip.run([form(array, max(1, count // 2), True)])  # half a burst down: the bursts are centred
    bench.chip.run([form(array, count, burst % 2 == 1) for burst in range(WARM_UP)])
    sums = [_sums(bench, array, x, repeats)]
    for burst in range(BURSTS):
        bench.chip.run([form(array, count, burst % 2 == 1)])
        sums.append(_sums(bench, array, x, repeats))
    changes = torch.stack(sums).diff(dim=0) / float(x[0, 0])  # [BURSTS, n_out]
    step = float((changes[0::2] - changes[1::2]).mean()) / 2 / array.n_in
    detrended = (changes[2:] - changes[:-2]) / math.sqrt(2)  # of one polarity: neither the step nor a drift remains
    return Series(step, float(detrended.pow(2).mean()))


def _sums(bench: Bench, array: Array, x: torch.Tensor, repeats: int) -> torch.Tensor:
    result = bench.chip.read_matvec(array, x.expand(repeats, -1).contiguous())
    if bool(result.saturated.any()):
        raise CheckSkippedError(f"the sum over {array.n_in} devices saturates the output converter")
    return result.values.cpu().double().mean(0)


def mean_step(bench: Bench) -> None:
    """The mean step of an update pulse in the middle of the range is dw_min, to within 0.6 to 1.4 times.

    That leaves room for the devices' spread, of which an array is a sample, and for the response's slope.
    """
    array, device = _centred(bench), bench.capabilities.device
    count = _burst(bench)
    # an error of a row sum of a fifth of its change leaves below 4 % on the mean over rows and bursts
    series = _series(bench, array, count, _slots, 0.2 * array.n_in * count * device.dw_min)
    found = series.step / count
    require(
        0.6 < found / device.dw_min < 1.4,
        f"the mean step is {found:.3g}, {device.dw_min:.3g} is declared ({count} pulses, {BURSTS} bursts)",
    )


def c2c_of_slots(bench: Bench) -> None:
    """The pulses of one train each spread by c2c, independently of each other and of other devices."""
    _spread(bench, _slots)


def c2c_of_samples(bench: Bench) -> None:
    """The pulses of the samples of one batch each spread by c2c, independently of each other."""
    _spread(bench, _samples)


def c2c_of_repeats(bench: Bench) -> None:
    """The pulses of a repeated train each spread by c2c, independently of each other."""
    _spread(bench, _repeats)


def _spread(bench: Bench, form: Form) -> None:
    """Compare the variance that pulses 2 .. n of a burst add, so that reads and write noise cancel, with c2c."""
    device = bench.capabilities.device
    count = _burst(bench)
    if count < 3:
        raise CheckSkippedError(
            f"one step is {device.dw_min / bench.span:.2g} of the range: bursts of 3 pulses would leave it"
        )
    array = _centred(bench)
    spread = device.c2c if device.c2c > 0 else 0.2  # what is to be seen, or to be excluded
    error = device.dw_min * spread * math.sqrt((count - 1) * array.n_in / 8)
    long = _series(bench, array, count, form, error)
    short = _series(bench, array, 1, form, error)
    unit = (count - 1) * array.n_in * (long.step / count) ** 2  # the variance at c2c = 1
    found, rest = (long.variance - short.variance) / unit, short.variance / unit
    # of two variances, from differences of which neighbours share a burst: worth 0.7 as many independent ones
    relative = math.sqrt(2 / (0.7 * array.n_out * (BURSTS - 2)))
    known = relative * math.hypot(spread**2 + rest, rest)
    if known > 0.2 * spread**2:
        needed = math.ceil(BURSTS * (known / (0.2 * spread**2)) ** 2)
        raise CheckSkippedError(f"noise that is not declared hides c2c; needs {needed} bursts, makes {BURSTS}")
    low, high = (0.65 * device.c2c) ** 2, (1.4 * spread) ** 2
    low -= 4 * relative * math.hypot(low + rest, rest)
    high += 4 * relative * math.hypot(high + rest, rest)
    require(
        low <= found < high,
        f"the spread of one step is {math.sqrt(max(found, 0.0)):.2f} of the mean step, "
        f"{device.c2c:.2f} is declared (bursts of {count} pulses)",
    )


def bounds_declared(bench: Bench) -> None:
    """Weights saturate near the declared bounds, whatever the number of pulses."""
    array, device = bench.square(), bench.capabilities.device
    for sign, bound in ((1, device.w_max), (-1, device.w_min)):
        bench.drive(array, sign * 2 * bench.push)
        found = float(bench.weights(array).mean())
        require(
            0.4 * abs(bound) - bench.rounding < sign * found < 1.3 * abs(bound) + bench.rounding,
            f"after {2 * bench.push} pulses {'up' if sign > 0 else 'down'} weights are {found:.3g}; "
            f"the declared bound is {bound:.3g}",
        )


CHECKS = (
    Check("bounds-declared", bounds_declared, "Weights are not clipped, or w_min and w_max are not the chip's."),
    Check(
        "mean-step",
        mean_step,
        "device.dw_min is not the mean step, in the units of a read: y of a one-hot input of 1 is the weight.",
    ),
    Check(
        "c2c-of-slots",
        c2c_of_slots,
        "c2c is in units of the mean step and fresh for every pulse: scale once, do not draw once for a whole train.",
    ),
    Check("c2c-of-samples", c2c_of_samples, "Samples of one batch share their noise: number them by first + b."),
    Check("c2c-of-repeats", c2c_of_repeats, "Repetitions share their noise: number them on, or multiply no draw."),
)
