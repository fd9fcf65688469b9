"""The command ``rpudriver``."""

import argparse
import sys
from collections.abc import Callable, Sequence

from rpudriver import __version__
from rpudriver.cli import backends, calibrate, demo, device, train, warm_cache
from rpudriver.errors import RpuDriverError

EPILOG = """\
start here:
  rpudriver demo                                        four algorithms side by side, under two minutes
  rpudriver train digits-ttv2 --out runs/ttv2           one run; --help shows how to change it
  rpudriver device plot asymmetric-100 --out device.png what a pulse does to a weight
  rpudriver backends check simulated                    does a chip keep the contract?
  rpudriver warm-cache                                  compile now what is compiled on first use
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets ``handler``, called with the arguments."""
    parser = argparse.ArgumentParser(
        prog="rpudriver",
        description="Train neural networks in memory, on simulated and real resistive crossbar chips.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rpudriver {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (demo, train, calibrate, device, backends, warm_cache):
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 for an error, 128 + n after signal n."""
    args = build_parser().parse_args(argv)
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
