"""``rpudriver calibrate twin``."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.registry import make
from rpudriver.calibration.probe import Probe
from rpudriver.calibration.response_filter import FAMILIES
from rpudriver.calibration.twin_data import TwinData, twin_data
from rpudriver.calibration.twin_fit import Twin, fit_twin
from rpudriver.calibration.twin_judge import DEVICES, Judgement, judge
from rpudriver.calibration.twin_replay import replay
from rpudriver.cli.calibrate import common
from rpudriver.config.toml import dump_toml
from rpudriver.errors import ConfigError, OutputError
from rpudriver.experiment.datasets import read_dataset
from rpudriver.experiment.folder import RunFolder, require_writable, write_atomically, write_json
from rpudriver.experiment.interruption import Interrupted, SignalWatch
from rpudriver.experiment.measurement import MeasurementFolder
from rpudriver.plots.twin import plot_twin
from rpudriver.types import Array

REPLAYED = 32  # lines of the array on which the twin is shown beside the chip

EPILOG = """\
The device model of the simulator is fitted to the data set of `rpudriver calibrate characterise`: the family of the
response is the one that predicts the last sweep best. twin.toml is a chip preset like those that ship.

With --backend the chip is then judged against its twin: both go through one fresh pulse sequence, and a kernel
two-sample test tells whether their devices are of one population (p below 0.05: they are not). The chip's array is,
unless told otherwise, the one that was characterised. Without --backend nothing is measured, the twin is only fitted.

files:
  twin.toml      the preset
  result.json    parameters with 95 % intervals, families compared, discrepancy, p, budget, worst devices
  twin.png       chip beside twin; the test, and where devices match worst
  dataset.h5     reads of the probe on both sides (with --backend)

examples:
  rpudriver calibrate characterise --set preset=asymmetric-100 --rows 32 --columns 32 --out chip
  rpudriver calibrate twin --dataset chip/dataset.h5 --set preset=asymmetric-100 --backend simulated --out twin
  rpudriver calibrate twin --dataset chip/dataset.h5 --out fit
  rpudriver train digits-ttv2 --set backend.preset=twin/twin.toml --out run
"""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "twin",
        help="a simulator preset that does what the chip does, and a test whether it does",
        description="Fit a digital twin to a characterisation, and judge it against the chip.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", metavar="FILE", type=Path, required=True, help="dataset.h5 of a characterisation")
    parser.add_argument("--backend", metavar="NAME", help="the chip to judge against (default: fit only)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="an option of the backend"
    )
    parser.add_argument(
        "--array", metavar="NAME", help="name of the array on the chip (default: the characterised one)"
    )
    parser.add_argument("--rows", metavar="N", type=int, help="its output lines (default: as characterised)")
    parser.add_argument("--columns", metavar="N", type=int, help="its input lines (default: as characterised)")
    common.add_output_options(parser)
    fit = parser.add_argument_group("settings of the fit")
    fit.add_argument("--family", choices=FAMILIES, help="of the response (default: the best one)")
    fit.add_argument("--fit-devices", metavar="N", type=int, default=1000, help="devices to fit (default: 1000)")
    probe = parser.add_argument_group("settings of the judge")
    common.add_settings(probe, Probe)
    probe.add_argument("--devices", metavar="N", type=int, default=DEVICES, help=f"of each side (default: {DEVICES})")
    probe.add_argument("--permutations", metavar="N", type=int, default=999, help="of devices (default: 999)")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Fit, judge where there is a chip, and return the exit code."""
    _check(args)
    torch.set_num_threads(args.threads)
    if args.json is not None:
        require_writable(args.json)
    data, record = read_dataset(args.dataset)
    usable = twin_data(data, record["complete"], args.fit_devices, args.seed)
    args.array = args.array or record["array"]
    args.rows, args.columns = args.rows or record["rows"], args.columns or record["columns"]
    chip, array = (None, None) if args.backend is None else common.open_array(args, Probe())
    print(f"fitting {len(usable.sweeps.weights)} devices of {record['chip']}", file=sys.stderr, flush=True)
    try:
        if chip is None or array is None:
            twin, judgement = _only_fitted(args, usable, record), None
            result: dict[str, Any] = {"results": {"twin": twin.as_dict()}, "findings": []}
        else:
            twin, result, judgement = _judged(args, chip, array, usable, record)
    except Interrupted as stopped:
        print(f"{stopped}\nresume with: {common.resume_command(args, Probe)}", file=sys.stderr)
        return stopped.exit_code
    finally:
        if chip is not None:
            chip.close()
    result |= {"procedure": "twin", "settings": _settings(args), "dataset": record}
    result["findings"] = [finding.as_dict() for finding in twin.findings] + result["findings"]
    write_json(args.out / "result.json", result)
    if args.json is not None:
        write_json(args.json, result)
    _draw(args, data, record, judgement)
    _tell(args, twin, judgement)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.backend is None and args.overrides:
        raise ConfigError("--set is an option of a backend: name it with --backend, or leave --set out to fit only")
    least = {"threads": 1, "fit_devices": 50, "devices": 20, "permutations": 19}
    for name, value in least.items():
        if getattr(args, name) < value:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(args, name)} must be at least {value}")


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    names = ("family", "fit_devices", "devices", "permutations", "seed", "states", "vectors", "amplitude")
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _config(args: argparse.Namespace, record: dict[str, Any], chip: str) -> str:
    described = {"chip": record["chip"], "array": record["array"], "started": record["started"]}
    return dump_toml({
        "procedure": "twin", "settings": _settings(args), "dataset": described,
        "array": {"name": args.array, "rows": args.rows, "columns": args.columns}, "backend": {"chip": chip},
    })  # fmt: skip


def _fit(args: argparse.Namespace, usable: TwinData, record: dict[str, Any]) -> Twin:
    """Fit, and write the preset."""
    twin = fit_twin(usable, args.family)
    source = (
        f"Twin of {record['chip']}, array {record['array']} ({record['rows']} x {record['columns']}), characterised "
        f"{record['started']}; {len(twin.fit.theta)} devices."
    )
    text = dump_toml({"source": source, **twin.preset})
    try:
        write_atomically(args.out / "twin.toml", lambda file: file.write(text.encode()))
    except OSError as error:
        raise OutputError(f"cannot write {args.out / 'twin.toml'}: {error}") from error
    return twin


def _only_fitted(args: argparse.Namespace, usable: TwinData, record: dict[str, Any]) -> Twin:
    folder = RunFolder(args.out)
    folder.begin(_config(args, record, "none"), args.resume)
    try:
        return _fit(args, usable, record)
    except BaseException:
        folder.withdraw()
        raise


def _judged(
    args: argparse.Namespace, chip: CrossbarBackend, array: Array, usable: TwinData, record: dict[str, Any]
) -> tuple[Twin, dict[str, Any], Judgement]:
    """Fit, probe chip and twin, and return the twin, the result so far and the verdict."""
    probe = Probe(args.seed, args.states, args.vectors, args.amplitude)
    with SignalWatch() as watch, common.Bar(args.quiet) as bar:
        config = _config(args, record, chip.fingerprint)
        folder = MeasurementFolder(args.out, config, args.resume, bar, lambda: watch.number)
        try:
            common.start(chip, args)
            probe.fit(chip, array, folder)
        except BaseException:
            folder.withdraw()
            raise
    twin = _fit(args, usable, record)
    with open_twin(args.out / "twin.toml", chip.capabilities, args.seed) as simulated:
        other = probe.for_another().fit(simulated, simulated.allocate(f"{array.name}/twin", *array.shape))
    judgement = judge(probe, other, args.devices, args.permutations, args.seed)
    probe.data_["twin/reads"] = other.reads_
    result = folder.finish(probe)
    found = [finding.as_dict() for finding in judgement.findings]
    results = {"twin": twin.as_dict(), "probe": probe.summary(), "judgement": judgement.as_dict()}
    return twin, {**result, "findings": found, "results": results}, judgement


def open_twin(preset: Path, like: Capabilities, seed: int) -> CrossbarBackend:
    """Return a simulated chip of a preset, armed, with the converters and arrays of another chip."""
    chip = like.model_dump(exclude={"device", "output_noise"})
    chip |= {key: chip[key] or 0 for key in ("input_bits", "output_bits", "output_bound")}  # 0: none
    simulated = make("simulated", preset=str(preset), seed=seed, chip=chip)
    simulated.arm()
    return simulated


def _draw(args: argparse.Namespace, data: dict[str, Any], record: dict[str, Any], judgement: Judgement | None) -> None:
    rows, columns = (min(REPLAYED, record[name]) for name in ("rows", "columns"))
    chip = {"rows": rows, "columns": columns}
    with make("simulated", preset=str(args.out / "twin.toml"), seed=args.seed, chip=chip) as simulated:
        simulated.arm()
        weights = replay(data, simulated, simulated.allocate("replay", rows, columns))
    plot_twin(data, weights, judgement, (args.rows, args.columns), f"Twin of {record['chip']}", args.out / "twin.png")


def _tell(args: argparse.Namespace, twin: Twin, judgement: Judgement | None) -> None:
    """Print what a user wants to know first."""
    contest = twin.contest
    rivals = {name: value for name, value in contest.behind.items() if name != contest.chosen}
    next_best = min(rivals, key=lambda name: rivals[name], default=None)
    by = "" if next_best is None else f", ahead of {next_best} by {rivals[next_best]:.3g} nats a read"
    print(f"twin: {contest.chosen} response{by}; preset {args.out / 'twin.toml'}")
    for finding in twin.findings + (judgement.findings if judgement else ()):
        print(f"finding: {finding}")
    if judgement is None:
        print("not judged: no --backend was given")
        return
    verdict = "does what the chip does" if judgement.test.p > 0.05 else "differs from the chip"
    worst = ", ".join(f"({row}, {column})" for row, column, _ in judgement.worst[:3])
    print(
        f"the twin {verdict}: p = {judgement.test.p:.3f}, squared discrepancy {judgement.test.mmd2:.2e} "
        f"({len(judgement.places)} devices); worst devices {worst}; everything is in {args.out}"
    )
