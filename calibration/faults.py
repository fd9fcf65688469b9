"""What an extraction tells of faults: lines that do not respond, outputs at the bound, outputs that are not linear."""

import math
from collections.abc import Iterator

import torch

from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.regression import Solution

FEWEST = 4  # weights of a line that must all read as zero before it is called dead
SURE = 5.0  # standard deviations of a chi-square number
CONTRAST = 20.0  # by as many must the weights of other lines be seen


def line_findings(found: Solution) -> Iterator[Finding]:
    """Yield what is wrong with outputs and columns."""
    determined = found.determined
    yield from found_where(
        "saturated-output",
        f"at the output bound in too many of {found.vectors} reads to be told; its weights are NaN. Check offset and "
        "read-out of the line, or give a smaller --amplitude",
        ~determined,
    )
    if not bool(determined.any()):
        return
    z2 = _significance(found)[determined]
    if _like_zero(z2.sum(), z2.numel()):
        message = (
            f"no weight differs from zero by its standard error of {found.overall_error:.2g}; is anything written?"
        )
        yield Finding("no-response", message, ())
        return
    yield from found_where("dead-column", "reads as zero in every row: a dead input line, or zeros", _dead(z2.t()))
    dead = torch.zeros_like(determined)
    dead[determined] = _dead(z2)
    yield from found_where("dead-output", "reads as zero in every column: a dead output line, or zeros", dead)


def _significance(found: Solution) -> torch.Tensor:
    """Return squares of weights in standard errors; a chip without any noise has errors of rounding only."""
    floor = 1e-6 * found.weights[found.determined].abs().max()
    return (found.weights / found.error.clamp(min=float(floor.clamp(min=1e-30)))).square()


def _like_zero(total: torch.Tensor, count: int) -> torch.Tensor:
    return total <= count + SURE * math.sqrt(2 * count)


def _dead(z2: torch.Tensor) -> torch.Tensor:
    """Return which lines ``[lines, weights]`` read as zero where most others do not."""
    count = z2.shape[1]
    total = z2.sum(1)
    if count < FEWEST or float(total.median()) < count + CONTRAST * math.sqrt(2 * count):
        return torch.zeros(len(z2), dtype=torch.bool)
    return _like_zero(total, count)


def misfit_finding(found: Solution, noise: float, pairs: int, more: float, step: float) -> Iterator[Finding]:
    """Yield a finding where outputs scatter more about the fit than about themselves.

    Parameters
    ----------
    noise : standard deviation of one read, from vectors that were read twice.
    pairs : how many such pairs of outputs.
    more : factor by which the variance may be larger, inputs being larger than they were then.
    step : of the output converter, whose rounding does not show where a vector reads alike twice.
    """
    variance = found.noise[found.determined].square()
    if not len(variance) or not pairs:
        return
    allowed = max(1.3, 1 + SURE * math.sqrt(2 / pairs)) * more * noise**2 + step**2 / 6
    scatter = float(variance.mean())
    if scatter > allowed + 1e-12:
        yield Finding(
            "not-linear",
            f"outputs scatter by {math.sqrt(scatter):.3g} about the fit, by {noise:.3g} when a vector is read twice: "
            "they are not linear in the inputs, or weights moved meanwhile. The standard errors include it",
            (),
        )
