"""``rpudriver calibrate extract``: the weights of an array, or the network of a trained run, from reads alone."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from rpudriver.calibration.extraction import Extract
from rpudriver.calibration.procedure import Procedure, Progress
from rpudriver.cli.calibrate import common
from rpudriver.errors import ConfigError
from rpudriver.experiment.extracting import extract_run, findings_of, open_run
from rpudriver.experiment.folder import require_writable, write_json
from rpudriver.experiment.interruption import Interrupted, SignalWatch
from rpudriver.experiment.measurement import Report
from rpudriver.plots.extraction import plot_extraction

EPILOG = """\
examples:
  rpudriver calibrate extract --set preset=asymmetric-100 --rows 64 --columns 64 --out w
  rpudriver calibrate extract --backend my-chip --array fc1/0.0/C --rows 32 --columns 65 --out w --target 0.005
  rpudriver calibrate extract --run runs/ttv2 --out network       the network that `rpudriver train` left there
  rpudriver calibrate extract ... --out w --resume                after Ctrl-C

The reads are as many as the target needs; --reads fixes them. What is found is the effective matrix, gain times
weight; with --reference-column and --reference-weight the gain of each output as well. An array that was just
allocated holds no weights of yours; --run puts a trained network back on its chip first. Then DIR holds model.pt, a
plain state_dict for torch, model-error.pt, its standard errors, and a folder for each tile of the network. Its test
accuracy is compared with that of the network on its analog hardware where the data are there (--data).
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = common.add_command(
        commands, Extract, help="the weights, from reads alone, each with a standard error", epilog=EPILOG, draw=draw
    )
    parser.add_argument("--run", metavar="RUN", type=Path, help="extract the network of this folder of a training run")
    parser.add_argument("--data", metavar="DIR", type=Path, help="with --run: the data files (default: RPUDRIVER_DATA)")
    parser.set_defaults(handler=run_extract)


def run_extract(args: argparse.Namespace) -> int:
    """Run ``rpudriver calibrate extract`` and return the exit code."""
    if args.run is None:
        if args.data is not None:
            raise ConfigError("--data is for --run; leave it out")
        return common.run(args, Extract, draw)
    _check_run_options(args)
    if args.threads < 1:
        raise ConfigError(f"--threads {args.threads} must be at least 1")
    torch.set_num_threads(args.threads)
    if args.json is not None:
        require_writable(args.json)
    settings = common.build(args, Extract).settings()
    trained = open_run(args.run, args.out / "chip.journal")
    with trained.chip, SignalWatch() as watch:
        bars = _Bars(args.quiet)
        try:
            result = extract_run(
                trained, settings, args.out,
                resume=args.resume, data_folder=args.data, report=bars.start, stop=lambda: watch.number,
            )  # fmt: skip
        except Interrupted as stopped:
            bars.close()
            print(f"{stopped}\nresume with: {common.resume_command(args, Extract)}", file=sys.stderr)
            return stopped.exit_code
        finally:
            bars.close()
    if args.json is not None:
        write_json(args.json, result)
    for tile, finding in findings_of(result):
        print(f"finding: {tile}: {finding}")
    print(f"{headline(result)}; everything is in {args.out}")
    return 0


def _check_run_options(args: argparse.Namespace) -> None:
    given = {"--set": args.overrides, "--rows": args.rows, "--columns": args.columns}
    wrong = [flag for flag, value in given.items() if value not in (None, [])]
    wrong += [] if args.backend == "simulated" else ["--backend"]
    wrong += [] if args.array == Extract.name else ["--array"]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: chip and arrays follow from --run {args.run}; leave it out")


def headline(result: dict[str, Any]) -> str:
    """Return one line about an extracted network."""
    test = result["test"]
    if not isinstance(test, str):
        analog, extracted = (100 * test[part]["test_accuracy"] for part in ("analog", "extracted"))
        test = f"{extracted:.2f} % test accuracy on digital hardware, {analog:.2f} % on its analog hardware"
    return f"network extracted with {result['reads']:,} reads: {test}"


def draw(found: Procedure, out: Path) -> None:
    """Draw the picture of a fitted extraction."""
    assert isinstance(found, Extract)
    plot_extraction(found, out / "extraction.png")


class _Bars:
    """A progress bar for each tile, one after the other."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: common.Bar | None = None

    def start(self, name: str) -> Report:
        self.close()
        bar = self._bar = common.Bar(self._quiet)

        def report(progress: Progress) -> None:
            bar(Progress(progress.done, progress.total, f"{name} {progress.note}"))

        return report

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
