"""What zero shifting is worth in training: Tiki-Taka and TTv2 on devices whose symmetry points lie far from zero.

Network, data and devices of the demo (100 states, full read noise), but symmetry points spread by 30 % of the bound.
Each arm trains the same seeds: without a zero shift, after each method, and with perfect points from the oracle.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.experiment.config import Config, load_config
from rpudriver.experiment.data import batches, load_data, permutation
from rpudriver.experiment.evaluation import evaluate
from rpudriver.experiment.network import build_network, build_optimizer, open_chip
from rpudriver.nn import AnalogLinear
from rpudriver.types import Port

RECIPES = ("digits-tiki-taka", "digits-ttv2")
SPREAD = "backend.device.up_down_d2d=0.3"
ARMS: dict[str, tuple[str, ...]] = {
    "perfect": ("zero_shift.method=none", "algorithm.reference=digital"),
    "none": ("zero_shift.method=none",),
    "alternating": (),
    "alternating, averaged": ("zero_shift.reads=32",),
    "response": ("zero_shift.method=response",),
    "alternating, digital": ("algorithm.reference=digital",),
    "response, digital": ("zero_shift.method=response", "algorithm.reference=digital"),
}


def put_perfect(model: torch.nn.Sequential, chip: CrossbarBackend) -> None:
    """Put every device of A at its true symmetry point, and that point into the digital reference."""
    for layer in model:
        if isinstance(layer, AnalogLinear):
            for tile in layer.grid.tiles:
                array = tile.state.arrays["A"]
                p = oracle(chip).device_parameters(array, Port.DEVICE)
                points = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
                oracle(chip).set_true_state(array, Port.DEVICE, points)
                tile.state = replace(tile.state, points=points.t().contiguous())


def accuracy(config: Config, perfect: bool) -> float:
    """Train and return the test accuracy after the last epoch."""
    data, chip = load_data(config.data), open_chip(config)
    assert chip is not None
    with chip:
        chip.arm()
        model = build_network(config, chip)
        if perfect:
            put_perfect(model, chip)
        optimizer = build_optimizer(config, model)
        rates = [group["lr"] for group in optimizer.param_groups]
        for epoch in range(config.training.epochs):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * config.training.rate_factor(epoch)
            order = permutation(config.seed, "shuffle", epoch, len(data.train_y))
            model.train()
            for chosen in batches(len(order), config.training.batch):
                samples = order[chosen]
                optimizer.zero_grad()
                cross_entropy(model(data.train_x[samples]), data.train_y[samples]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return evaluate(model, data.test_x, data.test_y)[1]


def compare(recipe: str, seeds: int, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Return accuracies of all arms, seed by seed: another network, another chip each time."""
    results: dict[str, Any] = {}
    for arm, changes in ARMS.items():
        start, found = time.perf_counter(), []
        for seed in range(1, seeds + 1):
            config = load_config(recipe, [SPREAD, f"seed={seed}", f"backend.seed={seed}", *changes, *overrides])
            found.append(100 * accuracy(config, arm == "perfect"))
        results[arm] = found
        less = [value - best for value, best in zip(found, results["perfect"], strict=True)]
        print(
            f"{recipe} {arm:22} {_mean(found)} %, against perfect {_mean(less)} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    return results


def _mean(values: list[float]) -> str:
    tensor = torch.tensor(values)
    error = float(tensor.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{float(tensor.mean()):.2f} +- {error:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch")
    parser.add_argument("--json", type=Path, help="write the accuracies there, in %%")
    args = parser.parse_args()
    torch.set_num_threads(1)
    quick = ("training.epochs=1",) if args.quick else ()
    results = {recipe: compare(recipe, 1 if args.quick else args.seeds, quick) for recipe in RECIPES}
    if args.json:
        args.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
