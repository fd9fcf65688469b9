"""What a zero shift noticed: devices without a symmetry point within reach, dead lines, references that fell short."""

import math

import torch

from rpudriver.calibration.crossing import stuck_devices
from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.procedure import Data
from rpudriver.calibration.zero_shift_summary import VERIFIED

REACH = 0.05  # of the range: from such offsets on Tiki-Taka and TTv2 suffer (Rasch et al. 2024)
FLAT = 0.15  # closing of both steps over the distance of a bound, in the sum of both: 1 for nominal soft bounds
SIGMAS = 4.0


def findings_of(
    data: Data, residual: torch.Tensor, residual_error: torch.Tensor
) -> tuple[torch.Tensor, tuple[Finding, ...]]:
    """Return which devices are live ``[n_out, n_in]``, and the findings."""
    reach = REACH * (data["chip/w_max"] - data["chip/w_min"])
    lost = data["rows/saturated"]
    stuck = _stuck(data) & ~lost[:, None]
    live = ~stuck & ~lost[:, None]
    found = found_where("saturated-output", "reads saturate whatever the input is; the row was left alone", lost)
    found += _lines(stuck, ~lost)
    if "search/mean" in data:
        found += _of_search(data, live, reach)
    if "reference/achieved" in data:
        missed = (data["reference/achieved"] - data["reference/wanted"]).abs() > reach
        found += found_where(
            "reference-out-of-reach",
            f"the reference ended more than {reach:.3g} from where it should be: its range ends there, or it is stuck",
            missed & live,
        )
    off = live & (residual.abs() > reach + SIGMAS * residual_error)
    message = f"by verification the symmetry point still reads as more than {reach:.3g} from zero"
    return live, found + found_where("not-zeroed", message, off)


def _stuck(data: Data) -> torch.Tensor:
    """Return devices that do not move, by the search or else by both verifications together."""
    groups = ["search"] if "search/mean" in data else [group for group in VERIFIED if f"{group}/mean" in data]
    if not groups:
        return torch.zeros(data["found/points"].shape, dtype=torch.bool)
    mean = torch.stack([data[f"{group}/mean"] for group in groups]).mean(0)
    return stuck_devices(mean, torch.stack([data[f"{group}/covariance"] for group in groups]).sum(0) / len(groups) ** 2)


def _lines(stuck: torch.Tensor, read: torch.Tensor) -> tuple[Finding, ...]:
    """Return stuck devices one by one, or as whole lines where all of a line are stuck."""
    rows, columns = stuck.all(1), stuck[read].all(0) if bool(read.any()) else stuck.all(0) & False
    single = stuck & ~rows[:, None] & ~columns[None, :]
    dead = "none of its devices answers to pulses; the line is open, or not driven"
    return (
        found_where("dead-row", dead, rows)
        + found_where("dead-column", dead, columns)
        + found_where("stuck-device", "pulses of neither sign move it; it reads as its own zero", single)
    )


def _of_search(data: Data, live: torch.Tensor, reach: float) -> tuple[Finding, ...]:
    """Return what the fits of single devices tell."""
    _, up, up_slope, down, down_slope = data["search/mean"]
    flat = live & (down_slope - up_slope < FLAT * (up.abs() + down.abs()))
    points, errors, reads = data["search/points"][-1], data["found/errors"], data["search/reads"]
    beyond = torch.maximum(points - reads.amax(0), reads.amin(0) - points)
    outside = live & ~flat & (beyond > 2 * reach + 3 * errors)
    known = len(reads) - 1
    bad = live & ~flat & (data["search/misfit"] > known + SIGMAS * math.sqrt(2 * max(1, known)))
    unsure = live & ~flat & ~outside & (errors > data["search/wanted"])
    return (
        found_where(
            "no-symmetry-point", "its up and down steps do not get closer to each other; it drifts to a bound", flat
        )
        + found_where(
            "point-out-of-range",
            "the point lies beyond where the device was seen; give it more pulses, or it cannot get there",
            outside,
        )
        + found_where(
            "model-misfit", "it moves unlike a smooth response with the declared noise; do not trust its error", bad
        )
        + found_where("imprecise-point", "pulses or rounds ended before the wanted precision; raise them", unsure)
    )
