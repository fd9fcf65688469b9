"""``rpudriver train``: one run from a config."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from rpudriver.cli.running import TrainingBar, train_and_draw
from rpudriver.errors import ConfigError
from rpudriver.experiment.config import load_config, recipe_names
from rpudriver.experiment.folder import require_writable, write_json
from rpudriver.experiment.interruption import Interrupted, SignalWatch

DESCRIPTION = "Train a network as a config says and write everything about it into a folder."
EPILOG = f"""\
CONFIG is a TOML file or one of the recipes that ship with the package:
  {", ".join(recipe_names())}

examples:
  rpudriver train digits-ttv2 --out runs/ttv2
  rpudriver train digits-ttv2 --out runs/fast --set algorithm.n_s=5 --set training.lr=0.2
  rpudriver train digits-ttv2 --out runs/ecram --set backend.preset=ecram --set backend.device.c2c=0.5
  rpudriver train digits-ttv2 --out runs/one-way --set backend.chip.transposed_reads=false \\
      --set training.backward=shadow --set training.shadow_every=100   a chip that cannot be read backwards
  rpudriver train examples/mnist-w25-ttv2.toml --out runs/mnist --data FOLDER-OF-MNIST
  rpudriver train digits-ttv2 --out runs/ttv2 --resume      after Ctrl-C

The folder DIR holds afterwards: config.toml (everything resolved), metrics.jsonl (a line for each epoch),
checkpoints/, result.json, learning_curve.png and weights.png. docs/runs.md describes every key.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver train`` takes."""
    parser.add_argument("config", metavar="CONFIG", help="a TOML file, or the name of a recipe")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="output folder; must not hold a run yet")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in DIR")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="replace a key; repeatable"
    )
    parser.add_argument("--data", metavar="DIR", type=Path, help="folder of the data files (default: RPUDRIVER_DATA)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result there as well")
    parser.add_argument(
        "--threads", metavar="N", type=int, default=1, help="CPU threads (default: 1, fastest for small networks)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(handler=run_train)


def run_train(args: argparse.Namespace) -> int:
    """Run ``rpudriver train`` and return the exit code."""
    config = load_config(args.config, args.overrides)
    cores = os.cpu_count() or 1
    if not 1 <= args.threads <= cores:
        raise ConfigError(f"--threads {args.threads}: this machine has {cores} cores; give 1 .. {cores}")
    if args.json is not None:
        require_writable(args.json)
    torch.set_num_threads(args.threads)
    bar = TrainingBar(args.quiet)
    with SignalWatch() as watch:
        try:
            result = train_and_draw(
                config,
                args.out,
                resume=args.resume,
                data_folder=args.data,
                report=bar,
                stop=lambda: watch.number,
            )
        except Interrupted as stopped:
            bar.close()
            print(f"{stopped}\nresume with: {resume_command(args)}", file=sys.stderr)
            return stopped.exit_code
        finally:
            bar.close()
    if args.json is not None:
        write_json(args.json, result)
    print(summary(result, args.out))
    return 0


def resume_command(args: argparse.Namespace) -> str:
    """Return the command line that goes on with an interrupted run."""
    words = ["rpudriver", "train", args.config, "--out", str(args.out)]
    words += [word for text in args.overrides for word in ("--set", text)]
    words += ["--data", str(args.data)] if args.data is not None else []
    words += ["--json", str(args.json)] if args.json is not None else []
    return shlex.join([*words, "--resume"])


def summary(result: dict[str, Any], out: Path) -> str:
    """Return one line about a finished run."""
    return (
        f"{result['algorithm']}: {100 * result['test_accuracy']:.2f} % test accuracy after {result['epochs']} epochs, "
        f"{result['wall_time_s']:.1f} s; {_shadow(result)}everything is in {out}"
    )


def _shadow(result: dict[str, Any]) -> str:
    """Return what a shadow cost, of all that the run did; nothing where there was none."""
    if "shadow" not in result:
        return ""
    shadow, cost = result["shadow"], result["cost"]
    shares = (
        f"{100 * shadow[key] / cost[key]:.1f} % of {what}"
        for key, what in (("reads", "reads"), ("chip_time_s", "chip time"), ("energy_j", "energy"))
        if cost[key]
    )
    return f"its shadow, read {shadow['extractions']} times, took {', '.join(shares)}; "
