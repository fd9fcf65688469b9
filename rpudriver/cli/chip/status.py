"""``rpudriver chip status``: who is at the end of the cable, and how it is."""

import argparse
from typing import Any

from rpudriver.cli.chip.common import add_chip, opened, show


def add_arguments(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("status", help="who is there, armed or not, pulses so far; changes nothing")
    add_chip(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    with opened(args) as chip:
        found, worn = chip.identity, chip.wear()
        state = "armed" if found.armed else f"not armed ({found.reason})"
        show(
            [
                ("chip", found.chip),
                ("firmware", found.firmware),
                ("session", f"{found.session:08x}"),
                ("state", state),
                ("pulses counted there", "it counts none" if found.pulses is None else f"{found.pulses:,}"),
                ("pulses counted here", f"{worn.total:,}"),
                ("most used device", f"{worn.most:,} of {worn.budget:,} pulses, {worn.where}"),
                ("journals", chip.journals),
            ]
        )
    return 0
