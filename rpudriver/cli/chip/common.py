"""What the commands about chips share: which chip, and what is printed of it."""

import argparse
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.registry import make
from rpudriver.config.overrides import apply_overrides
from rpudriver.errors import ConfigError
from rpudriver.types import Array


def add_chip(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which chip."""
    parser.add_argument("backend", metavar="BACKEND", help="such as serial-board; see `rpudriver backends list`")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
        help="an option of the backend: port=/dev/ttyACM0, chip=my-chip.toml",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="show what is done on the cable, a line each")


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which devices: a rectangle of the first array by default one device."""
    parser.add_argument("--rows", metavar="N", type=int, default=1, help="lines from row 0 on (default: 1)")
    parser.add_argument("--columns", metavar="N", type=int, default=1, help="lines from column 0 on (default: 1)")


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[HardwareBackend]:
    """Open the chip of a command line; it is idled and closed at the end.

    Raises
    ------
    ConfigError
        If the backend is not one at the end of a cable.
    """
    if args.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    chip = make(args.backend, **apply_overrides({}, args.overrides))
    try:
        if not isinstance(chip, HardwareBackend):
            raise ConfigError(
                f"{args.backend!r} is not a chip at the end of a cable; use serial-board, scpi-bench or arc2"
            )
        yield chip
    finally:
        chip.close()


def devices(chip: HardwareBackend, args: argparse.Namespace) -> Array:
    """Return the devices of a command line."""
    return chip.allocate("by hand", args.rows, args.columns)


def show(rows: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns."""
    for name, value in rows:
        print(f"{name:24} {value}")
