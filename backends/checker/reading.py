"""Reads: orientation, linearity, sums, saturation, and that they leave the weights alone."""

import math

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckFailedError, CheckSkippedError, converter_step, require
from rpudriver.errors import UnsupportedError
from rpudriver.types import Array, Read


def read_shapes(bench: Bench) -> None:
    """A read of B vectors returns float32 values and bool flags, both [B, n]; runs keep the order of their reads."""
    side = bench.square().n_in
    array = bench.array("oblong", side - 1, side)
    directions = [False, True] if bench.capabilities.transposed_reads else [False]
    for transposed in directions:
        lines, outputs = (side - 1, side) if transposed else (side, side - 1)
        for count in (3, 1, 0):
            result = bench.chip.read_matvec(array, torch.zeros(count, lines), transposed)
            for what, tensor, dtype in (
                ("values", result.values, torch.float32),
                ("saturated", result.saturated, torch.bool),
            ):
                found, wanted = (tuple(tensor.shape), tensor.dtype), ((count, outputs), dtype)
                require(found == wanted, f"{what} of {count} vectors are {found}, not {wanted}")


def read_orientation(bench: Bench) -> None:
    """A forward read is y_i = sum_j W_ij x_j, and row i of W is what the pulses of row i moved."""
    array = bench.square()
    high = bench.halves(array.n_out)
    bench.to_bottom(array)
    before = bench.weights(array)
    bench.drive(array, bench.push, rows=high)
    change = bench.weights(array) - before
    first = bench.halves(array.n_in)
    bench.moved_up(change[high][:, ~first], "pulsed rows, in columns of the second half,")
    bench.stayed(change[~high][:, first], "rows that were not pulsed, in columns of the first half,")
    bench.moved_up(change[high], "pulsed rows")
    bench.stayed(change[~high], "rows that were not pulsed")


def transposed_read(bench: Bench) -> None:
    """A transposed read is y_j = sum_i W_ij x_i of the same weights, or raises UnsupportedError."""
    array = bench.square()
    if not bench.capabilities.transposed_reads:
        try:
            bench.chip.read_matvec(array, torch.zeros(1, array.n_out), transposed=True)
        except UnsupportedError:
            return
        raise CheckFailedError("a transposed read went through on a chip that declares to have none")
    bench.pattern(array, bench.halves(array.n_out)[:, None].expand(array.shape))
    forward, backward = bench.weights(array), bench.weights(array, transposed=True)
    _agree(bench, forward, backward, "weights read backward", "forward")


def _agree(bench: Bench, wanted: torch.Tensor, found: torch.Tensor, what: str, reference: str) -> None:
    """Fail unless two measurements of weights agree to a tenth of the range (four standard errors) on average."""
    off = float((found - wanted).abs().mean())
    require(off < bench.span / 10 + bench.rounding, f"{what} are off by {off:.3g} on average from {reference}")


def read_linear(bench: Bench) -> None:
    """Reads are linear in inputs of both signs and of any size: the output is W x."""
    array = bench.square()
    columns = torch.arange(array.n_in)
    bench.to_bottom(array)
    bench.drive(array, bench.push, columns=columns % 2 == 0)
    weights = bench.weights(array)
    x = bench.amplitude * torch.where(columns % 2 == 0, 1.0, -1.0)
    x = torch.stack([x, -x, 0.5 * x, x * bench.halves(array.n_in), 0.0 * x])
    expected = x.double() @ weights.t()
    bound = bench.capabilities.output_bound
    fits = expected.abs() < (math.inf if bound is None else 0.8 * bound)
    found = bench.mean_read(array, x, bench.repeats(bench.span / 40, len(x)))
    # weights and outputs are each known to a fortieth of the range, inputs to half a step of their converter
    inputs = converter_step(bench.capabilities.input_bits, bench.capabilities.input_bound) / 2
    slack = bench.span * (math.sqrt(array.n_in + 1) / 10 + array.n_in * inputs)
    slack += bench.rounding * (1 + math.sqrt(array.n_in))
    off = float(((found - expected).abs() * fits).max())
    require(off < slack, f"an output is off by {off:.3g} from W x (at most {slack:.3g}), up to {expected.max():.3g}")


def read_amplitude(bench: Bench) -> None:
    """Below saturation, outputs are as large as the inputs: half the amplitude gives half the output, offset aside."""
    array = bench.square()
    bench.pattern(array, torch.ones(array.shape, dtype=torch.bool))
    full = bench.mean_read(array, torch.eye(array.n_in) * bench.amplitude, bench.repeats(bench.span / 10, array.n_in))
    largest, bound = float(full.sum(0).abs().max()), bench.capabilities.output_bound
    size = bench.amplitude if bound is None else bench.amplitude * min(1.0, 0.8 * bound / max(largest, 1e-12))
    step = converter_step(bench.capabilities.input_bits, bench.capabilities.input_bound)
    size = math.floor(size / step / 2 + 1e-9) * step * 2 if step else size  # so that half of it is a level, too
    if size <= 0:
        raise CheckSkippedError("the input converter has no two levels below saturation, one twice the other")
    x = torch.tensor([1.0, -1.0, 0.5, -0.5])[:, None].expand(4, array.n_in) * size
    wanted = largest * size / bench.amplitude / 40
    y = bench.mean_read(array, x, bench.repeats(wanted / 4, len(x)))
    whole, half = (y[0] - y[1]) / 2, (y[2] - y[3]) / 2
    off = float((2 * half - whole).mean())  # of eight outputs, each known to the square root of 2.5 times a 160th
    slack = wanted + 2 * bench.rounding
    require(
        abs(off) < slack, f"at half the input, outputs of {float(whole.mean()):.3g} are off by {off:.3g} from the half"
    )


def read_sum(bench: Bench) -> None:
    """A sum reads as sum_k weight_k W_k x, whether the chip sums or the host does."""
    first, second = bench.square("first"), bench.square("second")
    bench.pattern(first, bench.halves(first.n_out)[:, None].expand(first.shape))
    bench.pattern(second, bench.halves(first.n_in)[None, :].expand(first.shape))
    expected = 2.0 * bench.weights(first) - 0.5 * bench.weights(second)
    one_hot = torch.eye(first.n_in) * bench.amplitude / 2
    repeats = bench.repeats(bench.span / 40 * bench.amplitude, first.n_in)
    terms = ((first, 2.0), (second, -0.5))
    values = bench.read_sums(first, terms, one_hot.repeat(repeats, 1)).view(repeats, first.n_in, first.n_out)
    found = 2.0 * values.mean(0).t() / bench.amplitude
    off = float((found - expected).abs().mean())
    slack = bench.span / 4 + 4 * bench.rounding
    require(off < slack, f"2 A - 0.5 B is off by {off:.3g} on average from what A and B give by themselves")


def saturation_flagged(bench: Bench) -> None:
    """An output at the converter's bound is clipped there and flagged; others are not flagged."""
    array = _wide(bench)
    bound = bench.capabilities.output_bound
    if bound is None:
        result = bench.chip.read_matvec(array, torch.full((1, array.n_in), bench.amplitude))
        return require(not bool(result.saturated.any()), "an output is flagged on a chip that declares no bound")
    bench.pattern(array, torch.ones(array.shape, dtype=torch.bool))
    sums = bench.weights(array).sum(1) * bench.capabilities.input_bound
    if float(sums.max()) < 1.3 * bound:
        raise CheckSkippedError(
            f"the largest output of {array.n_in} columns is {float(sums.max()):.3g}; the bound is {bound:g}"
        )
    scale = torch.tensor([[1.0], [-1.0], [0.25 * bound / float(sums.max())]])
    result = bench.chip.read_matvec(array, (scale * bench.capabilities.input_bound).expand(3, array.n_in).contiguous())
    values, flags = result.values.cpu().double(), result.saturated.cpu()
    largest = float(values.abs().max())
    require(largest <= bound * (1 + 1e-6), f"an output of {largest:.3g} is beyond the bound of {bound:g}")
    sure = (scale * sums).abs() > 1.15 * bound + 6 * bench.sigma
    silent = (sure | (values.abs() >= bound * (1 - 1e-6))) & ~flags
    require(not bool(silent.any()), f"{int(silent.sum())} outputs were clipped to {bound:g} without a flag")
    low = (scale * sums).abs() < 0.3 * bound
    require(not bool((flags & low).any()), f"outputs well below the bound of {bound:g} are flagged")
    wrong = sure & (values.sign() != (scale * sums).sign())
    require(not bool(wrong.any()), "a clipped output has the wrong sign")
    return None


def _wide(bench: Bench) -> Array:
    """Return an array with enough columns to reach the output bound."""
    bound = bench.capabilities.output_bound or 0.0
    columns = math.ceil(3 * bound / (bench.capabilities.device.w_max * bench.capabilities.input_bound))
    return bench.array("wide", min(4, bench.capabilities.rows), max(1, min(bench.capabilities.columns, columns)))


def reads_do_not_disturb(bench: Bench) -> None:
    """A thousand reads at full input, forward and backward, leave the weights as they are."""
    array = bench.square()
    bench.pattern(array, bench.halves(array.n_out)[:, None].expand(array.shape))
    error = bench.span / 40
    before = bench.weights(array, error)
    full = torch.full((250, array.n_in), bench.capabilities.input_bound)
    signs = torch.where(torch.arange(250) % 2 == 0, 1.0, -1.0)[:, None]
    for transposed in (False, True) if bench.capabilities.transposed_reads else (False, False):
        bench.chip.run([Read(((array, 1.0),), full * signs, transposed), Read(((array, 1.0),), full, transposed)])
    change = bench.weights(array, error) - before
    # the mean of half the array is known to a fortieth of the range over sqrt(n / 2), and to the converter's rounding
    slack = 6 * math.sqrt(2) * error / math.sqrt(array.n_out * array.n_in / 2) + 2 * bench.rounding
    for part, mean in (
        ("near the upper end", float(change[bench.halves(array.n_out)].mean())),
        ("near the lower end", float(change[~bench.halves(array.n_out)].mean())),
    ):
        require(abs(mean) < slack, f"weights {part} moved by {mean:.3g} (at most {slack:.3g}) during 1000 reads")


CHECKS = (
    Check("read-shapes", read_shapes, "Outputs are [B, n_out], one row for each vector; backward [B, n_in]."),
    Check(
        "read-orientation",
        read_orientation,
        "The forward read uses W^T, or pulses take d for columns and x for rows: d belongs to rows, x to columns.",
    ),
    Check("transposed-read", transposed_read, "The transposed read uses W instead of W^T, or other devices."),
    Check("read-linear", read_linear, "Signs or sizes of inputs are lost, or an offset is added."),
    Check(
        "read-amplitude",
        read_amplitude,
        "Outputs are compressed well below the bound: calibrate the read-out, or declare a smaller output bound.",
    ),
    Check("read-sum", read_sum, "The weights of the terms are ignored, or only the first term is read."),
    Check(
        "saturation-flagged",
        saturation_flagged,
        "Outputs are clipped in silence: set `saturated` wherever |y| reaches the bound, before rounding.",
    ),
    Check("reads-do-not-disturb", reads_do_not_disturb, "A read writes: it must not change any device's state."),
)
