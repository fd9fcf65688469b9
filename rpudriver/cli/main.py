"""The command ``rpudriver``."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from rpudriver import __version__
from rpudriver.errors import RpuDriverError

COMMANDS = {
    "demo": "compare digital SGD, analog SGD, Tiki-Taka and TTv2 on handwritten digits",
    "train": "train a network as a config says",
    "calibrate": "characterise devices, shift symmetry points to zero, extract weights",
    "device": "list device presets, plot a pulse response",
    "backends": "list chips, check that one keeps the contract",
    "chip": "a chip at the end of a cable: status, limits, journal; emulate a board",
    "warm-cache": "compile beforehand what training compiles on first use",
}

EPILOG = """\
start here:
  rpudriver demo                                        four algorithms side by side, under two minutes
  rpudriver train digits-ttv2 --out runs/ttv2           one run; --help shows how to change it
  rpudriver device plot asymmetric-100 --out device.png what a pulse does to a weight
  rpudriver backends check simulated                    does a chip keep the contract?
  rpudriver warm-cache                                  compile now what is compiled on first use
"""


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands; the one that the words name sets ``handler``, called with the arguments.

    Only that one's module is imported, for torch and matplotlib take seconds to load.
    """
    parser = argparse.ArgumentParser(
        prog="rpudriver",
        description="Train neural networks in memory, on simulated and real resistive crossbar chips.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rpudriver {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = subparsers.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in words:
            module = importlib.import_module(f"rpudriver.cli.{name.replace('-', '_')}")
            command.description, command.epilog = module.DESCRIPTION, module.EPILOG
            module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 for an error, 128 + n after signal n."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    handler: Callable[[argparse.Namespace], int] = args.handler
    try:
        return handler(args)
    except RpuDriverError as error:
        print(f"rpudriver: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"rpudriver: error: not enough memory ({error}); make the network or the chip smaller", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # the second Ctrl-C, or one before there was anything to save
        print("rpudriver: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
