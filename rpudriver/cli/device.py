"""``rpudriver device``: device presets and their pulse response."""

import argparse
from pathlib import Path

from rpudriver.backends.registry import make
from rpudriver.backends.simulated.devices.spec import load_preset, preset_names
from rpudriver.experiment.folder import require_writable, write_json
from rpudriver.plots.pulse_response import measure_response, plot_response
from rpudriver.plots.style import require_picture

DESCRIPTION = "Device presets: what a pulse does to a weight, and how that varies."
EPILOG = """\
examples:
  rpudriver device list
  rpudriver device plot ecram --out ecram.png
  rpudriver device plot my-device.toml --out my-device.png --json my-device.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver device`` takes."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show the presets that ship with the package")
    listing.set_defaults(handler=run_list)
    plot = commands.add_parser("plot", help="draw pulse response, spread and symmetry point of a preset")
    plot.add_argument("preset", metavar="PRESET", help="name of a preset, or a TOML file")
    plot.add_argument("--out", metavar="FILE", type=Path, required=True, help="picture to write, for example x.png")
    plot.add_argument("--json", metavar="FILE", type=Path, help="write what was measured there")
    plot.add_argument("--seed", type=int, default=0, help="seed of the simulated devices (default: 0)")
    plot.set_defaults(handler=run_plot)


def run_list(args: argparse.Namespace) -> int:
    """Run ``rpudriver device list``."""
    for name in preset_names():
        preset = load_preset(name)
        family = getattr(preset.device.response, "family", "?")
        print(f"{name:18} {preset.device.n_states:6.0f} states  {family:12} {preset.source}")
    return 0


def run_plot(args: argparse.Namespace) -> int:
    """Run ``rpudriver device plot``."""
    require_picture(args.out)
    for path in (args.out, args.json):
        if path is not None:
            require_writable(path)
    with make("simulated", preset=args.preset, seed=args.seed) as chip:
        chip.arm()
        response = measure_response(chip)
    plot_response(response, args.preset, args.out)
    summary = response.summary()
    if args.json is not None:
        write_json(args.json, {"preset": args.preset, "seed": args.seed, **summary})
    rest = summary["resting_point"]
    found = f"symmetry point {rest['median']:+.4f}, 90 % of devices in {rest['q05']:+.4f} .. {rest['q95']:+.4f}"
    print(f"{args.preset}: {found if summary['has_symmetry_point'] else 'no symmetry point'}; see {args.out}")
    return 0
