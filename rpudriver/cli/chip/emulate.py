"""``rpudriver chip emulate``: a board or a bench without a chip, in a terminal of its own."""

import argparse
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.hardware.emulator.board import EmulatedBoard
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.errors import ConfigError
from rpudriver.experiment.interruption import SignalWatch

LOOK_S = 0.2  # between two looks at the firmware


def add_arguments(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("emulate", help="start an emulated board or bench, say where it is; Ctrl-C ends it")
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    board = kinds.add_parser(
        "board",
        help="the reference firmware on a pseudo-terminal, over simulated devices",
        description="Build the reference firmware with the C compiler of this machine, and run it on a pseudo-terminal "
        "over simulated devices. Its counters last as long as it runs, unless --folder is given.",
    )
    _add_chip(board, "emulated-64")
    board.add_argument("--link", metavar="PATH", type=Path, help="make a link to the port there")
    board.add_argument("--disturb", metavar="S", type=float, default=0.0, help="strength of a half-selected pulse (0)")
    board.add_argument(
        "--resistors", metavar="UNITS", type=float, help="resistors of this weight at all cross-points, for self-test"
    )
    board.add_argument("--folder", metavar="DIR", type=Path, help="where the counters of the board are kept")
    board.set_defaults(handler=run)
    bench = kinds.add_parser(
        "bench",
        help="a Keithley 2450, a 2602B and a 3706A on TCP sockets, around simulated devices",
        description="Instruments that speak their own languages (SCPI, TSP) on TCP sockets of this machine, wired to "
        "simulated devices as docs/bench.md says. Any program that drives such instruments can talk to them, one at a "
        "time. Needs: pip install 'rpudriver[bench,emulator]'",
    )
    _add_chip(bench, "bench-8")
    bench.add_argument(
        "--ports", metavar="N", type=int, nargs=3, default=(0, 0, 0), help="of 2450, 2602B, 3706A (default: free ones)"
    )
    bench.set_defaults(handler=run_bench)


def _add_chip(parser: argparse.ArgumentParser, chip: str) -> None:
    parser.add_argument("--chip", default=chip, help=f"chip profile, name or TOML file (default: {chip})")
    parser.add_argument("--preset", default="asymmetric-100", help="device preset (default: asymmetric-100)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of devices and noise (default: 0)")
    parser.add_argument("--line-ohms", metavar="R", type=float, default=0.0, help="of a line between two devices (0)")


def run(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip emulate board``."""
    link: Path | None = args.link
    if link is not None and link.exists() and not link.is_symlink():
        raise ConfigError(f"--link {link} is a file of yours; choose another path")
    physics = {"disturb": args.disturb, "line_ohms": args.line_ohms}
    devices = _resistors(args.chip, args.resistors) if args.resistors is not None else {"preset": args.preset}
    with (
        SignalWatch() as watch,
        EmulatedBoard(args.chip, **devices, seed=args.seed, folder=args.folder, **physics) as board,
    ):
        for array in range(board.profile.arrays if args.resistors is not None else 0):
            board.oracle.set_weights(array, args.resistors)
        port = board.port
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(board.port)
            port = str(link)
        print(f"board {board.profile.chip} at {port}; Ctrl-C ends it. In another terminal:", flush=True)
        print(f"  rpudriver chip status serial-board --set port={port} --set chip={args.chip}", flush=True)
        try:
            while watch.number is None:
                time.sleep(LOOK_S)
                if not board.running:
                    print(f"the firmware ended ({board.problem() or 'killed'}); started again", flush=True)
                    board.start_firmware()
        finally:
            if link is not None:
                with contextlib.suppress(OSError):
                    link.unlink()
    return 0 if watch.number == signal.SIGINT else 128 + int(watch.number or 0)


def _resistors(chip: str, weight: float) -> dict[str, Any]:
    """Return options for devices that are alike; pulses still move them, as no resistor would."""
    profile = load_chip(chip)
    low, high = profile.device.w_min, profile.device.w_max
    if not low <= weight <= high:
        raise ConfigError(f"--resistors {weight:g} must lie in [{low:g}, {high:g}]")
    read = {"output_noise": profile.output_noise}
    return {"preset": "idealised", "device": {"w_min": low, "w_max": high}, "read": read}


def run_bench(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip emulate bench``."""
    with (
        SignalWatch() as watch,
        EmulatedBench(args.chip, args.preset, seed=args.seed, ports=args.ports, line_ohms=args.line_ohms) as bench,
    ):
        print(f"bench around {bench.profile.chip}; Ctrl-C ends it.", flush=True)
        for model, address in bench.addresses.items():
            print(f"  {model:6} {address}", flush=True)
        places = " ".join(f"--set {name}={address}" for name, address in bench.options.items())
        print("In another terminal:", flush=True)
        print(f"  rpudriver chip status scpi-bench {places} --set chip={args.chip}", flush=True)
        while watch.number is None and bench.running:
            time.sleep(LOOK_S)
    return 0 if watch.number == signal.SIGINT else 128 + int(watch.number or 0)
