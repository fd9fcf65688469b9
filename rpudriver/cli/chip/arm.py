"""``rpudriver chip arm`` and ``idle``: try the limits out, and put everything at rest."""

import argparse
import time
from typing import Any

from rpudriver.cli.chip.common import add_chip, opened
from rpudriver.errors import ConfigError


def add_arguments(subparsers: Any) -> None:
    """Add both commands."""
    arm = subparsers.add_parser(
        "arm",
        help="arm with the limits of the profile, and idle again: does the board accept them?",
        description="Arm with the limits of the profile, hold, and idle again. No output moves. A board never stays "
        "armed without a process that owns it: its watchdog would idle it.",
    )
    add_chip(arm)
    arm.add_argument("--hold", metavar="SECONDS", type=float, default=0.0, help="stay armed that long (default: 0)")
    arm.set_defaults(handler=run_arm)
    idle = subparsers.add_parser("idle", help="put all outputs at rest and disarm; obeyed in every state")
    add_chip(idle)
    idle.set_defaults(handler=run_idle)


def run_arm(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip arm``."""
    if not 0 <= args.hold <= 3600:
        raise ConfigError(f"--hold {args.hold:g} must lie in [0, 3600] seconds")
    with opened(args) as chip:
        chip.arm()
        print(f"{chip.identity.chip} accepts the limits and is armed; outputs are at rest")
        time.sleep(args.hold)
    print("idle")
    return 0


def run_idle(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip idle``."""
    with opened(args) as chip:
        chip.idle()
        print(f"{chip.identity.chip}: outputs at rest, not armed")
    return 0
