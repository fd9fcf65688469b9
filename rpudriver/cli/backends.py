"""``rpudriver backends``: which chips there are, and whether one keeps the contract."""

import argparse
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.checker import CheckReport, check_backend
from rpudriver.backends.checker.report import format_result
from rpudriver.backends.registry import GROUP, backend_names, make
from rpudriver.config.model import did_you_mean
from rpudriver.config.overrides import apply_overrides
from rpudriver.errors import ConfigError
from rpudriver.experiment.folder import require_writable, write_json

# Simulators are checked with devices whose noise leaves every check measurable in seconds: 100 states, and 40 where
# another response family is only to be shown to act alike.
SIMULATORS = ("simulated", "reference")
PRESET: dict[str, Any] = {"preset": "asymmetric-100"}
FORTY_STATES = {"dw_min": {"mean": 0.03}}
VARIANTS: tuple[dict[str, Any], ...] = (
    PRESET,
    {"preset": "rpu-symmetric", "device": FORTY_STATES},
    PRESET | {"device": FORTY_STATES | {"response": {"family": "power", "tau": 0.7, "gamma": 1.2}}, "seed": 1},
)

DESCRIPTION = "Chips, simulated and real."
EPILOG = """\
examples:
  rpudriver backends check simulated
  rpudriver backends check simulated --set preset=ecram --set seed=3
  rpudriver backends check my-board --set port=COM3 --json check.json
  rpudriver backends check my-board --only polarity --only read-orientation

Without --set, the simulators are checked with three devices (soft bounds, constant step, power response); with it,
with one: asymmetric-100, some keys of which are replaced. Exit status: 0 if nothing failed, 1 otherwise.

Keys of the JSON file: backend, passed, seconds, runs; each run has options, passed, counts (of passed, failed and
skipped checks) and checks; each check has name, statement, outcome, detail, likely_mistake and seconds.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver backends`` takes."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show the installed backends and where they come from")
    listing.set_defaults(handler=run_list)
    check = commands.add_parser(
        "check",
        help="run the conformance suite on a backend",
        description="Run the conformance suite on a backend. It pulses every device of the arrays that it allocates.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("name", metavar="NAME", help="name of an installed backend, see `rpudriver backends list`")
    check.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="an option of the backend"
    )
    check.add_argument("--only", metavar="CHECK", action="append", help="run only this check; repeatable")
    check.add_argument("--json", metavar="FILE", type=Path, help="write the result there as well")
    check.set_defaults(handler=run_check)


def run_list(args: argparse.Namespace) -> int:
    """Run ``rpudriver backends list``."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown package"
        print(f"{point.name:16} {package:24} {point.value}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Run ``rpudriver backends check``."""
    if args.name not in backend_names():
        raise ConfigError(f"no backend {args.name!r}" + did_you_mean(args.name, backend_names()))
    if args.json is not None:
        require_writable(args.json)
    torch.set_num_threads(1)  # the arrays are small: threads would only wait for each other
    start = time.perf_counter()
    runs = []
    for options in variants(args.name, args.overrides):
        print(f"{args.name} with {options or 'no options'}")
        report = check_one(args.name, options, args.only)
        print(str(report).splitlines()[-1], end="\n\n")
        runs.append({"options": options, **report.as_dict()})
    passed = all(run["passed"] for run in runs)
    seconds = round(time.perf_counter() - start, 2)
    if args.json is not None:
        write_json(args.json, {"backend": args.name, "passed": passed, "seconds": seconds, "runs": runs})
    verdict = "does not keep the contract"
    if passed:
        verdict = "keeps the contract" if args.only is None else "passes what was checked of the contract"
    print(f"{args.name} {verdict} ({seconds} s)")
    return 0 if passed else 1


def variants(name: str, overrides: list[str]) -> tuple[dict[str, Any], ...]:
    """Return the options that a backend is opened with, one run of the suite for each."""
    base = PRESET if name in SIMULATORS else {}
    if overrides:
        return (apply_overrides(base, overrides),)
    return VARIANTS if name in SIMULATORS else (base,)


def check_one(name: str, options: dict[str, Any], only: list[str] | None) -> CheckReport:
    """Run the suite once and print each check as it is done."""
    return check_backend(
        lambda: make(name, **options), only=only, progress=lambda result: print(format_result(result), flush=True)
    )
