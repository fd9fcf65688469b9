"""What all calibration commands share: their options, and a measurement from command line to folder."""

import argparse
import shlex
import sys
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.calibration.procedure import Procedure, Progress
from rpudriver.config.overrides import apply_overrides
from rpudriver.config.toml import dump_toml
from rpudriver.errors import ConfigError
from rpudriver.experiment.folder import require_writable, write_json
from rpudriver.experiment.interruption import Interrupted, SignalWatch
from rpudriver.experiment.measurement import MeasurementFolder
from rpudriver.types import Array

Draw = Callable[[Procedure, Path], None]  # draws the pictures of a fitted procedure into a folder


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    procedure: type[Procedure],
    *,
    help: str,
    epilog: str,
    draw: Draw,
) -> argparse.ArgumentParser:
    """Add the command of a procedure; every setting becomes an option, with the setting's own help text."""
    parser = commands.add_parser(
        procedure.name,
        help=help,
        description=(procedure.__doc__ or "").split("\n")[0],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", metavar="NAME", default="simulated", help="the chip (default: simulated)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="an option of the backend"
    )
    parser.add_argument("--array", metavar="NAME", default=procedure.name, help="name of the array on the chip")
    parser.add_argument("--rows", metavar="N", type=int, help="output lines (default: all of a physical array)")
    parser.add_argument("--columns", metavar="N", type=int, help="input lines (default: all of a physical array)")
    add_output_options(parser)
    add_settings(parser.add_argument_group("settings of the measurement"), procedure)
    parser.set_defaults(handler=lambda args: run(args, procedure, draw))
    return parser


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every calibration command has, whatever it measures."""
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for data, result and pictures")
    parser.add_argument("--resume", action="store_true", help="go on with the interrupted measurement in DIR")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the result there as well")
    parser.add_argument("--threads", metavar="N", type=int, default=1, help="CPU threads of a simulator (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_settings(group: Any, procedure: type[Procedure]) -> None:
    """Add an option for each setting; one that may be None is left out by default."""
    hints = typing.get_type_hints(procedure)
    for each in fields(procedure):
        if not each.init:
            continue
        kinds = [kind for kind in (typing.get_args(hints[each.name]) or (hints[each.name],)) if kind is not type(None)]
        flag, text = "--" + each.name.replace("_", "-"), each.metadata["help"]
        shown = "" if each.default is None else f" (default: {each.default})"
        if kinds == [bool]:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=each.default, help=text)
        else:
            choices = each.metadata["choices"] or None
            group.add_argument(
                flag, type=kinds[0], default=each.default, choices=choices, metavar=None if choices else "X",
                help=text + shown,
            )  # fmt: skip


def build(args: argparse.Namespace, procedure: type[Procedure]) -> Procedure:
    """Return the procedure with the settings of a command line."""
    return procedure(**{each.name: getattr(args, each.name) for each in fields(procedure) if each.init})


def open_array(args: argparse.Namespace, procedure: Procedure) -> tuple[CrossbarBackend, Array]:
    """Return the chip and the array of a command line, not armed.

    Raises
    ------
    ConfigError, AllocationError
        If either is not to be had.
    """
    chip = make(args.backend, **apply_overrides({}, args.overrides))
    try:
        rows = chip.capabilities.rows if args.rows is None else args.rows
        columns = chip.capabilities.columns if args.columns is None else args.columns
        return chip, chip.allocate(args.array, rows, columns, procedure.cell)
    except BaseException:
        chip.close()
        raise


def run(args: argparse.Namespace, kind: type[Procedure], draw: Draw) -> int:
    """Run a calibration command and return the exit code."""
    if args.threads < 1:
        raise ConfigError(f"--threads {args.threads} must be at least 1")
    torch.set_num_threads(args.threads)
    if args.json is not None:
        require_writable(args.json)
    procedure = build(args, kind)
    chip, array = open_array(args, procedure)
    with chip, SignalWatch() as watch, Bar(args.quiet) as bar:
        try:
            result = measure(procedure, chip, array, args, bar, lambda: watch.number)
        except Interrupted as stopped:
            bar.close()
            print(f"{stopped}\nresume with: {resume_command(args, kind)}", file=sys.stderr)
            return stopped.exit_code
    draw(procedure, args.out)
    if args.json is not None:
        write_json(args.json, result)
    for finding in procedure.findings_:
        print(f"finding: {finding}")
    print(f"{headline(result)}; everything is in {args.out}")
    return 0


def start(chip: CrossbarBackend, args: argparse.Namespace) -> None:
    """Arm a chip for a measurement; first it finds out what became of the one that is resumed."""
    chip.keep_journal(args.out / "chip.journal", args.resume)
    chip.arm()


def measure(
    procedure: Procedure,
    chip: CrossbarBackend,
    array: Array,
    args: argparse.Namespace,
    report: Callable[[Progress], None],
    stop: Callable[[], int | None],
) -> dict[str, Any]:
    """Fit a procedure, journalled in the folder of a command line; return the result."""
    settings = {key: value for key, value in procedure.settings().items() if value is not None}
    config = dump_toml(
        {
            "procedure": procedure.name,
            "settings": settings,
            "array": {"name": array.name, "rows": array.n_out, "columns": array.n_in},
            "backend": {"name": args.backend, "chip": chip.fingerprint},
        }
    )
    folder = MeasurementFolder(args.out, config, args.resume, report, stop)
    try:
        start(chip, args)
        procedure.fit(chip, array, folder)
    except BaseException:
        folder.withdraw()
        raise
    return folder.finish(procedure)


def resume_command(args: argparse.Namespace, kind: type[Procedure]) -> str:
    """Return the command line that goes on with an interrupted measurement."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    return shlex.join(["rpudriver", *words, "--resume"])


def headline(result: dict[str, Any]) -> str:
    """Return one line about a finished measurement: what it took."""
    cost = result["cost"]
    return (
        f"{result['procedure']} of {result['rows']} x {result['columns']} devices: "
        f"{cost['coincidences']:,} device pulses, {cost['reads']:,} reads, {result['wall_time_s']:.1f} s"
    )


class Bar:
    """A progress bar of a measurement; call it after each portion."""

    def __init__(self, quiet: bool) -> None:
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self._bar: tqdm[Any] = tqdm(
            total=1.0, disable=quiet, mininterval=interval, dynamic_ncols=True, delay=0.5,
            bar_format="{desc}{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]{postfix}",
        )  # fmt: skip

    def __call__(self, progress: Progress) -> None:
        self._bar.set_postfix_str(progress.note, refresh=False)
        self._bar.update(progress.done / progress.total - self._bar.n)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._bar.close()
