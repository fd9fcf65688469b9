"""Zero shifting: error against pulses and mat-vecs, by alternating pulses and from measured responses.

Soft-bounds devices, range +-0.6, 30 % spread of step and bounds, symmetry points spread by 30 % of the bound, 30 %
cycle-to-cycle noise, read noise 0.06, 7 and 9 bits; every device starts anywhere in its range. The error is the true
symmetry point (the simulator's oracle) minus what the method takes for it.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.procedure import Data, Journal, Progress
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift, averaged
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.plots.style import COLOURS, GREY, canvas, save
from rpudriver.types import Array, Cell, Port

STEPS = (0.0003, 0.001, 0.003, 0.01, 0.03)
DEVICE = {"up_down_d2d": 0.3, "c2c": 0.3, "response": {"family": "soft-bounds"}}
WANTED = 0.012  # 1 % of the range
PRECISIONS = (0.1, 0.06, 0.04, 0.03, 0.025, 0.02, 0.015, 0.0125, 0.01)
Point = dict[str, float]  # pulses, vectors, median, p95


def open_chip(dw_min: float, size: int, seed: int, cell: Cell) -> tuple[CrossbarBackend, Array]:
    """Return a chip and an array whose devices start anywhere in the range."""
    device = DEVICE | {"dw_min": {"mean": dw_min, "d2d": 0.3}}
    chip = make("simulated", preset="rpu-asymmetric", seed=seed, device=device)
    chip.arm()
    array = chip.allocate("A", size, size, cell)
    start = 1.2 * torch.rand(size, size, generator=torch.Generator().manual_seed(seed)) - 0.6
    oracle(chip).set_true_state(array, Port.DEVICE, start)
    return chip, array


def true_points(chip: CrossbarBackend, array: Array) -> torch.Tensor:
    """Return where up and down steps are equal, as the cells read."""
    p = oracle(chip).device_parameters(array, Port.DEVICE)
    point = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
    return point - (oracle(chip).true_state(array, Port.REFERENCE) if array.cell is Cell.REFERENCE else 0.0)


def errors(difference: torch.Tensor, pulses: float, vectors: float) -> Point:
    size = difference.abs().flatten().double()
    return {
        "pulses": pulses,
        "vectors": vectors,
        "median": float(size.median()),
        "p95": float(size.sort().values[int(0.95 * (len(size) - 1))]),
    }


class Watch(Journal):
    """Looks at where devices are after each portion."""

    def __init__(self, look: Callable[[Data], None]) -> None:
        self._look = look

    def resume(self) -> dict[str, Any] | None:
        return None

    def note(self, progress: Progress, state: Callable[[], dict[str, Any]]) -> None:
        self._look(state()["data"])


def alternate(dw_min: float, size: int, seed: int) -> dict[str, list[Point]]:
    """Return both curves of alternating pulses: where devices are, and the mean of reads in the last quarter."""
    chip, array = open_chip(dw_min, size, seed, Cell.SINGLE)
    points = true_points(chip, array)
    left: list[Point] = []
    mean: list[Point] = []

    def look(data: Data) -> None:
        pulses, reads = data["alternate/pulses"], data["alternate/reads"]
        if len(left) == len(pulses):
            return
        state = oracle(chip).true_weights(array)
        spent = float(pulses[-1])
        left.append(errors(state - points, spent, 0.0))
        used = pulses >= 0.75 * pulses[-1]  # a chip that has decided on so many pulses reads in the last quarter only
        vectors = float(data["alternate/vectors"][used].sum())
        mean.append(errors(averaged(pulses, reads, 0.25) - points, spent, vectors))

    # beyond what settles; where states are few the noise of pulses decides, and averaging goes on
    total = max(2 * round(2.4 / dw_min), 1000)
    method = AlternatingZeroShift(reference="digital", verify=0, rest=False, pulses=total, reads=64, average=0.25)
    method.fit(chip, array, Watch(look))
    return {"alternating": left, "alternating, averaged": mean}


def respond(dw_min: float, size: int, seed: int, bursts: str) -> list[Point]:
    """Return a point for each wanted precision; for common bursts, which stop for all at once, one for each burst."""
    curve: list[Point] = []
    for precision in PRECISIONS if bursts == "own" else PRECISIONS[-1:]:
        chip, array = open_chip(dw_min, size, seed, Cell.SINGLE)
        points = true_points(chip, array)
        method = ResponseZeroShift(
            reference="digital", verify=0, rest=False, precision=precision, bursts=bursts, rounds=100
        )
        found = method.fit(chip, array)
        data = found.data_
        vectors = data["search/vectors"].cumsum(0).double()
        if bursts == "own":
            pulses = float(found.pulses_.double().mean())
            curve.append(errors(found.points_ - points, pulses, float(vectors[-1])))
        else:
            spent = data["search/counts"].abs().double().mean((1, 2)).cumsum(0)
            for k in range(1, len(spent)):
                difference = data["search/points"][k + 1] - points
                curve.append(errors(difference, float(spent[k]), float(vectors[k + 1])))
    return curve


def pulses_for(curve: list[Point], key: str) -> float | None:
    """Return what a curve takes until its median error is at most 1 % of the range, between its points."""
    for before, after in pairwise(curve):
        if after["median"] <= WANTED:
            if before["median"] <= WANTED:
                return before[key]
            part = (before["median"] - WANTED) / (before["median"] - after["median"])
            return before[key] + part * (after[key] - before[key])
    return None


def whole(dw_min: float, size: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return what both methods leave and take at their defaults, the reference written and verified."""
    rows: dict[str, dict[str, Any]] = {}
    for name, method in (
        ("alternating", AlternatingZeroShift()),
        ("response", ResponseZeroShift()),
        ("response, common", ResponseZeroShift(bursts="common")),
    ):
        chip, array = open_chip(dw_min, size, seed, Cell.REFERENCE)
        done = method.fit(chip, array)
        left = errors(true_points(chip, array)[done.live_], float(done.pulses_.double().mean()), 0.0)
        found = done.summary()
        well = done.live_ & (done.residual_error_ < 1.5 * done.residual_error_[done.live_].median())
        rows[name] = left | {
            "vectors": found["vectors"],
            "verified_rms": found["residual"]["rms"],
            "verified_rms_error": found["residual"]["rms_error"],
            "true_rms": float(true_points(chip, array)[well].square().mean().sqrt()),
            "findings": {finding.kind: len(finding.places) for finding in done.findings_},
            "chip_time_s": done.record_.cost["chip_time_s"],
        }
    return rows


def run(steps: tuple[float, ...], size: int, seed: int) -> dict[str, Any]:
    """Return all curves and tables."""
    results: dict[str, Any] = {}
    for dw_min in steps:
        start = time.perf_counter()
        curves = alternate(dw_min, size, seed)
        curves["response"] = respond(dw_min, size, seed, "own")
        curves["response, common"] = respond(dw_min, size, seed, "common")
        needs = {name: [pulses_for(curve, key) for key in ("pulses", "vectors")] for name, curve in curves.items()}
        results[str(dw_min)] = {"curves": curves, "needs": needs, "whole": whole(dw_min, size, seed)}
        print(f"dw_min {dw_min:g} ({time.perf_counter() - start:.0f} s): pulses and vectors to a median of {WANTED}")
        for name, (pulses, vectors) in needs.items():
            shown = "not reached" if pulses is None else f"{pulses:.0f} pulses, {vectors:.0f} vectors"
            print(f"    {name:22} {shown}")
        for name, row in results[str(dw_min)]["whole"].items():
            print(f"    whole, {name}: {json.dumps(row)}")
    return results


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw median (lines) and 95th percentile (dots) against pulses (above) and mat-vecs (below)."""
    figure, axes = canvas(rows=2, columns=len(results), width=3.6, height=3.3)
    colours = dict(zip(next(iter(results.values()))["curves"], (GREY, *COLOURS), strict=False))
    for column, (dw_min, found) in enumerate(results.items()):
        for row, key in enumerate(("pulses", "vectors")):
            ax = axes[row * len(results) + column]
            for name, curve in found["curves"].items():
                if key == "vectors" and curve[-1]["vectors"] == 0:
                    continue
                at = [point[key] for point in curve]
                ax.plot(at, [point["median"] for point in curve], color=colours[name], label=name)
                ax.plot(at, [point["p95"] for point in curve], ":", color=colours[name])
            ax.axhline(WANTED, color="black", linewidth=0.8)
            ax.set(xscale="log", yscale="log", ylim=(0.002, 1.0))
            ax.set_xlabel("pulses per device" if key == "pulses" else "mat-vecs")
            if column == 0:
                ax.set_ylabel("error (chip units)")
            if row == 0:
                ax.set_title(f"dw_min {dw_min}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--size", type=int, default=128, help="lines of the square array")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one step, a small array")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--picture", type=Path, help="draw the curves there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = run((0.01,), 24, args.seed) if args.quick else run(STEPS, args.size, args.seed)
    if args.json:
        args.json.write_text(json.dumps(results))
    if args.picture:
        draw(results, args.picture)


if __name__ == "__main__":
    main()
