"""The noise of reads: as large as declared, fresh for every vector, independent from line to line."""

import math

import torch

from rpudriver.backends.checker.bench import Bench, Check, CheckSkippedError, require

VECTORS = 400  # with 8 lines, a standard deviation is known to 1.3 %


def output_noise_declared(bench: Bench) -> None:
    """The standard deviation of an output at zero input is the declared one, to 20 %."""
    values = _silent_read(bench)
    if bench.capabilities.output_noise == 0:
        spread = float(values.max() - values.min())
        return require(spread <= 2.1 * bench.adc_step, f"no output noise is declared; reads spread over {spread:.3g}")
    found, wanted = float(values.std(0).pow(2).mean().sqrt()), bench.sigma
    return require(0.8 < found / wanted < 1.2, f"standard deviation {found:.3g}; {wanted:.3g} is declared")


def output_noise_fresh(bench: Bench) -> None:
    """Noise is drawn anew for every vector of every read, and for every line."""
    values = _silent_read(bench)
    _needs_noise(bench)
    again = bench.chip.read_matvec(bench.square(), torch.zeros(VECTORS, bench.square().n_in)).values.cpu().double()
    variance = bench.sigma**2
    for what, share in (
        ("of consecutive vectors", float((values[1:] * values[:-1]).mean()) / variance),
        ("of two reads of the same vectors", float((values * again).mean()) / variance),
        ("of neighbouring lines", float((values[:, 1:] * values[:, :-1]).mean()) / variance),
    ):
        # a mean of 2800 independent products has a standard error of 0.02
        require(abs(share) < 0.2, f"the noise {what} is correlated: {share:.2f} of its variance is shared")


def sum_noise(bench: Bench) -> None:
    """A sum has one output noise where the chip can sum, else one for each of its arrays."""
    _needs_noise(bench)
    first, second = bench.square("first"), bench.square("second")
    values = bench.read_sums(first, ((first, 3.0), (second, -4.0)), torch.zeros(VECTORS, first.n_in))
    found = float(values.std(0).pow(2).mean().sqrt())
    wanted = bench.sigma * (1.0 if bench.capabilities.summed_reads else 5.0)
    require(0.8 < found / wanted < 1.2, f"standard deviation of a sum {found:.3g}; {wanted:.3g} follows from its terms")


def _needs_noise(bench: Bench) -> None:
    if bench.capabilities.output_noise < bench.adc_step / 2 or bench.capabilities.output_noise == 0:
        raise CheckSkippedError(
            "the declared output noise does not reach over the converter's steps: there is none to see"
        )


def _silent_read(bench: Bench) -> torch.Tensor:
    """Return reads of zero inputs, ``[VECTORS, n]``."""
    if 0 < bench.capabilities.output_noise < bench.adc_step / 2:
        raise CheckSkippedError("the declared output noise is below half a step of the converter, which hides it")
    bound = bench.capabilities.output_bound
    if bench.sigma * 4 > (math.inf if bound is None else bound):
        raise CheckSkippedError(f"the output bound of {bound} clips a noise of {bench.sigma:.3g}")
    array = bench.square()
    return bench.chip.read_matvec(array, torch.zeros(VECTORS, array.n_in)).values.cpu().double()


CHECKS = (
    Check(
        "output-noise-declared",
        output_noise_declared,
        "capabilities.output_noise is not the standard deviation of one output in chip units.",
    ),
    Check(
        "output-noise-fresh",
        output_noise_fresh,
        "One draw serves a whole batch, or the same numbers are drawn for every read: use Numbered.first + b.",
    ),
    Check("sum-noise", sum_noise, "capabilities.summed_reads is wrong, or noise is drawn for each term of a sum."),
)
