"""What it costs to train without transposed reads: accuracy and reads against how often the shadow is read again.

Every arm trains the same seeds, of run and chip, on the recipe's network with one hidden layer more, so that two layers
pass gradients on.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch

from rpudriver.experiment.config import load_config
from rpudriver.experiment.training import train

RECIPES = ("digits-sgd", "digits-tiki-taka", "digits-ttv2")
NETWORK = "network.layers=[64, 32, 32, 10]"
EVERY = (1, 10, 100, 1000, 10_000)
ONE_WAY = "backend.chip.transposed_reads=false"


def arms() -> dict[str, list[str]]:
    """Return the overrides of each arm by its name."""
    shadows = {f"{k}": [ONE_WAY, "training.backward=shadow", f"training.shadow_every={k}"] for k in EVERY}
    return {"transposed": [], **shadows}


def run(recipe: str, overrides: Sequence[str], seed: int) -> dict[str, Any]:
    """Train once; return accuracy in %, all reads, and the shadow's."""
    config = load_config(recipe, [f"seed={seed}", f"backend.seed={seed}", NETWORK, *overrides])
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run").result
    shadow = result.get("shadow", {"reads": 0, "chip_time_s": 0.0, "energy_j": 0.0})
    return {
        "accuracy": 100 * result["test_accuracy"],
        "reads": result["cost"]["reads"],
        "wall_time_s": result["wall_time_s"],
        "shares": {key: 100 * shadow[key] / result["cost"][key] for key in ("reads", "chip_time_s", "energy_j")},
    }


def study(seeds: int, quick: bool) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return all runs by recipe and arm, and print a row of Markdown for each arm."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    short = ["training.epochs=1", "training.batch=64"] if quick else []
    print("| | shadow read every | test accuracy, % | mean | reads, million | share of reads, chip time, energy | s |")
    print("|---|---|---|---|---|---|---|")
    for recipe in RECIPES:
        found[recipe] = {}
        for arm, overrides in arms().items():
            runs = [run(recipe, [*overrides, *short], seed) for seed in range(1, seeds + 1)]
            found[recipe][arm] = runs
            print(row(recipe, arm, runs), flush=True)
    return found


def row(recipe: str, arm: str, runs: list[dict[str, Any]]) -> str:
    """Return an arm's runs as a row of the table; shares and reads are means."""
    accuracies = torch.tensor([each["accuracy"] for each in runs])
    shares = " / ".join(f"{_mean([each['shares'][key] for each in runs]):.2g} %" for key in runs[0]["shares"])
    error = float(accuracies.std()) / math.sqrt(len(runs)) if len(runs) > 1 else math.nan
    return (
        f"| {recipe} | {arm} | {', '.join(f'{value:.1f}' for value in accuracies.tolist())} | "
        f"{float(accuracies.mean()):.2f} +- {error:.2f} | {_mean([each['reads'] for each in runs]) / 1e6:.3g} | "
        f"{shares} | {_mean([each['wall_time_s'] for each in runs]):.1f} |"
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(found: dict[str, dict[str, list[dict[str, Any]]]], path: Path) -> None:
    """Draw accuracy and reads against how often the shadow is read; lines across are transposed reads."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for number, (recipe, by_arm) in enumerate(found.items()):
        values = {arm: torch.tensor([each["accuracy"] for each in runs]) for arm, runs in by_arm.items()}
        means = [float(values[str(k)].mean()) for k in EVERY]
        spread = [float(values[str(k)].std(correction=min(1, len(values[str(k)]) - 1))) for k in EVERY]
        colour = f"C{number}"
        left.errorbar(EVERY, means, spread, color=colour, marker="o", capsize=3, label=recipe)
        left.axhline(float(values["transposed"].mean()), color=colour, linestyle=":")
        right.plot(EVERY, [_mean([each["reads"] for each in by_arm[str(k)]]) for k in EVERY], color=colour, marker="o")
        right.axhline(_mean([each["reads"] for each in by_arm["transposed"]]), color=colour, linestyle=":")
    left.set(xscale="log", xlabel="mini-batches between two readings", ylabel="test accuracy, %")
    right.set(xscale="log", yscale="log", xlabel="mini-batches between two readings", ylabel="vectors read in the run")
    left.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one seed, one short epoch")
    parser.add_argument("--json", type=Path, help="write all runs there")
    parser.add_argument("--picture", type=Path, help="draw accuracy and reads there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = study(1 if args.quick else args.seeds, args.quick)
    if args.json:
        args.json.write_text(json.dumps(found))
    if args.picture:
        draw(found, args.picture)


if __name__ == "__main__":
    main()
