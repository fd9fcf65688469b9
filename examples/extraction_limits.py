"""Weight extraction against its limits: three sets of weights, three designs, and the error against the reads.

A simulated array without device noise, read noise 0.06, bound 12, 7 and 9 bits: the read settings of Gokmen 2021. The
limit of a design is ``s / sqrt(N e)``: s the noise of one read with rounding, N reads, e the mean square of an input
(for uniform inputs N less the unknowns). The weights are put on the chip through the simulator's oracle.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.designs import DESIGNS
from rpudriver.calibration.extraction import Extract
from rpudriver.plots.style import COLOURS, GREY, canvas, save
from rpudriver.types import Array, Port

NOISE, BOUND, TARGET = 0.06, 12.0, 0.002
ROUNDING = BOUND / (2**8 - 1)  # step of 9 bits
DEVICE = {"w_max": 5.0, "w_min": -5.0}  # wide enough for every set


def weight_sets(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Return the sets; wider rows than 512 would have larger outputs, narrower ones get larger weights."""
    draw = torch.Generator().manual_seed(seed)
    factor = math.sqrt(512 / size)
    normal = 0.1 * factor * torch.randn(size, size, generator=draw)
    return {
        "(a) N(0, 0.1)": normal,
        "(b) uniform +-0.6": factor * (1.2 * torch.rand(size, size, generator=draw) - 0.6),
        "(c) N(0.1, 0.1)": 0.1 * factor + 0.1 * factor * torch.randn(size, size, generator=draw),
        "N(0, 0.2)": 2 * normal,
    }


def open_with(weights: torch.Tensor, seed: int) -> tuple[CrossbarBackend, Array]:
    """Return a chip that holds these weights exactly."""
    chip = make("simulated", preset="idealised", seed=seed, device=DEVICE, read={"output_noise": NOISE})
    chip.arm()
    array = chip.allocate("W", *weights.shape)
    oracle(chip).set_true_state(array, Port.DEVICE, weights)
    return chip, array


def limit(found: Extract) -> float:
    """Return the standard error of least squares for this design if nothing had clipped."""
    design = DESIGNS[found.design](found.weights_.shape[1], found.seed)
    data, reads = found.data_, found.reads_
    energy = design.energy(data["plan/level"]) * data["chip/level_size"] ** 2
    left = reads if design.orthogonal else reads - design.lines - 1
    return math.sqrt((NOISE**2 + ROUNDING**2 / 12) / (left * energy))


def judge(found: Extract, weights: torch.Tensor) -> dict[str, Any]:
    """Return how an extraction compares with the truth."""
    off, truth = (found.weights_ - weights).double(), weights.double()
    error = float(off.square().mean().sqrt())
    return {
        "design": found.design,
        "reads": found.reads_ + found.data_["pilot/reads"],
        "amplitude": found.data_["plan/level"] * found.data_["chip/level_size"],
        "clipped": float(1 - found.data_["extracted/seen"].mean()),
        "slope": float((found.weights_.double() * truth).sum() / truth.square().sum()),
        "rms_error": error,
        "limit": limit(found),
        "stated": float(found.error_.double().square().mean().sqrt()),
        "coverage": float((off.abs() < 1.959964 * found.error_).double().mean()),
        "correlation": float(torch.corrcoef(torch.stack([found.weights_.flatten(), weights.flatten()]))[0, 1]),
    }


def one_hot(weights: torch.Tensor, seed: int) -> dict[str, Any]:
    """Return what one read of each column tells, as in Gokmen 2021, figure 6."""
    chip, array = open_with(weights, seed)
    found = chip.read_matvec(array, torch.eye(array.n_in)).values.t()
    error = float((found - weights).double().square().mean().sqrt())
    correlation = float(torch.corrcoef(torch.stack([found.flatten(), weights.flatten()]))[0, 1])
    return {"design": "one-hot, once", "reads": array.n_in, "rms_error": error, "correlation": correlation}


def rows(size: int, uniform: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the table, row after row."""
    for name, weights in weight_sets(size, seed).items():
        for settings in ({"target": TARGET}, {"design": "uniform", "reads": uniform, "amplitude": 1.0}):
            start = time.perf_counter()
            found = Extract(seed=seed, **settings).fit(*open_with(weights, seed))
            yield {"weights": name, **judge(found, weights), "seconds": time.perf_counter() - start}
        yield {"weights": name, **one_hot(weights, seed)}


def curve(size: int, most: int, seed: int) -> list[dict[str, Any]]:
    """Return the error against the reads, for set (a)."""
    weights = weight_sets(size, seed)["(a) N(0, 0.1)"]
    reads = [2 * size * 2**k for k in range(12) if 2 * size * 2**k <= most]
    return [judge(Extract(seed=seed, reads=count).fit(*open_with(weights, seed)), weights) for count in reads]


def draw(table: list[dict[str, Any]], line: list[dict[str, Any]], path: Path) -> None:
    """Draw error against reads for set (a), and for all sets how many reads reach the target."""
    figure, (error, reads) = canvas(columns=2, width=5.2, height=3.8)
    counts = [point["reads"] for point in line]
    error.plot(counts, [point["limit"] for point in line], color=GREY, label="limit of orthogonal inputs")
    error.plot(counts, [point["rms_error"] for point in line], "o", color=COLOURS[0], label="orthogonal inputs")
    mine = [row for row in table if row["weights"].startswith("(a)")]
    for colour, marker, design in ((COLOURS[1], "^", "uniform"), (COLOURS[2], "x", "one-hot, once")):
        (row,) = [row for row in mine if row["design"] == design]
        label = f"{design.partition(',')[0]} inputs"
        error.plot(row["reads"], row["rms_error"], marker, color=colour, markersize=7, label=label)
    error.axhline(TARGET, color=GREY, linestyle="--", linewidth=1)
    error.set(xscale="log", yscale="log", xlabel="reads, pilot included", ylabel="rms error of a weight (chip units)")
    error.set_title("set (a)")
    error.legend(frameon=False, fontsize=8)
    taken = {row["weights"]: row["reads"] for row in table if row["design"] == "orthogonal"}
    drawn = reads.barh(list(taken), list(taken.values()), color=COLOURS[0], height=0.6)
    reads.bar_label(drawn, padding=4)
    reads.invert_yaxis()
    reads.grid(axis="y", visible=False)
    reads.set(xlabel=f"reads for a standard error of {TARGET:g}", xlim=(0, 1.25 * max(taken.values())))
    save(figure, path)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 x 64 instead of 512 x 512")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    size, uniform, most = (64, 2500, 4000) if options.quick else (512, 10_000, 70_000)
    table = []
    for row in rows(size, uniform, options.seed):
        table.append(row)
        print({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    line = curve(size, most, options.seed)
    for point in line:
        print(f"{point['reads']:6d} reads: rms error {point['rms_error']:.5f}, limit {point['limit']:.5f}")
    if options.json:
        options.json.write_text(json.dumps({"rows": table, "curve": line}, indent=1))
    if options.picture:
        draw(table, line, options.picture)


if __name__ == "__main__":
    main()
