"""``rpudriver chip limits``: what a chip profile allows; no chip is needed."""

import argparse
from typing import Any

from rpudriver.backends.hardware.profile import SCHEMES, ChipProfile, chip_names, chip_path, load_chip
from rpudriver.cli.chip.common import show


def add_arguments(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("limits", help="what a chip profile allows, in volts, amperes and seconds")
    parser.add_argument("chip", metavar="CHIP", nargs="?", help="name of a chip profile, or a TOML file")
    parser.add_argument("--toml", action="store_true", help="print the profile as a file, to begin your own with")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.chip is None:
        for name in chip_names():
            print(f"{name:18} {load_chip(name).source}")
        return 0
    profile = load_chip(args.chip)
    if args.toml:
        print(chip_path(args.chip).read_text(), end="")
        return 0
    envelope = profile.envelope
    show([("chip", profile.chip), ("array", f"{profile.arrays} of {profile.rows} x {profile.columns}")])
    show([("biasing", profile.biasing), ("watchdog", f"{profile.timing.watchdog_s:g} s")])
    show((f"at most, {name}", value) for name, value in envelope.model_dump().items())
    for name, kind in profile.kinds.items():
        for way, volts in (("up", kind.volts_up), ("down", kind.volts_down)):
            if kind.polarity in (way, "both"):
                show([(f"pulse {name} {way}", f"{volts:+g} V for {kind.width_s:g} s; rails {_rails(profile, volts)}")])
    print("\nrails: row active, row at rest, column active, column at rest")
    return 0


def _rails(profile: ChipProfile, volts: float) -> str:
    parts = [f"{part * volts + 0.0:+.3g} V" for part in SCHEMES[profile.biasing]]
    if profile.floating:
        parts[1] = parts[3] = "floating"
    return ", ".join(parts)
