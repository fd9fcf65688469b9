"""``rpudriver chip pulse`` and ``self-test``: single devices by hand, and a network of known resistors."""

import argparse
from typing import Any

import torch

from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.cli.chip.common import add_chip, add_place, devices, opened
from rpudriver.errors import ConfigError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Pulse


def add_arguments(subparsers: Any) -> None:
    """Add both commands."""
    pulse = subparsers.add_parser("pulse", help="pulse the first devices by hand, and read before and after")
    add_chip(pulse)
    add_place(pulse)
    pulse.add_argument("--kind", default="update", help="kind of pulse of the chip profile (default: update)")
    pulse.add_argument("--count", metavar="N", type=int, default=1, help="pulses, negative for down (default: 1)")
    pulse.add_argument("--reads", metavar="N", type=int, default=64, help="reads to average over (default: 64)")
    pulse.set_defaults(handler=run_pulse)
    test = subparsers.add_parser(
        "self-test",
        help="read a network of known resistors in place of a chip: wiring, gain and offset",
        description="Read every cross-point one by one and compare with what was soldered in. Nothing is pulsed.",
    )
    add_chip(test)
    add_place(test)
    test.add_argument("--expect", metavar="UNITS", type=float, help="weight, in chip units, that every resistor is")
    test.add_argument("--within", metavar="UNITS", type=float, default=0.05, help="allowed error (default: 0.05)")
    test.add_argument("--reads", metavar="N", type=int, default=64, help="reads to average over (default: 64)")
    test.set_defaults(handler=run_self_test)


def read(chip: HardwareBackend, array: Array, reads: int) -> torch.Tensor:
    """Return the weights ``[n_out, n_in]``, one column driven at a time."""
    if not 1 <= reads <= 100_000:
        raise ConfigError(f"--reads {reads} must lie in [1, 100000]")
    x = torch.eye(array.n_in).repeat(reads, 1)
    return chip.read_matvec(array, x).values.view(reads, array.n_in, array.n_out).mean(0).t()


def run_pulse(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip pulse``."""
    with opened(args) as chip:
        most = chip.capabilities.longest_bl
        if not 0 < abs(args.count) <= most:
            raise ConfigError(f"--count {args.count} must lie in [-{most}, {most}] and not be 0")
        chip.arm()
        array = devices(chip, args)
        before = read(chip, array, args.reads)
        trains = counted_pulses(torch.full(array.shape, args.count))
        chip.run([Pulse(array, trains, args.kind)])
        after = read(chip, array, args.reads)
    print("row column   before    after   change")
    for row in range(args.rows):
        for column in range(args.columns):
            one, other = float(before[row, column]), float(after[row, column])
            print(f"{row:3} {column:6} {one:+8.4f} {other:+8.4f} {other - one:+8.4f}")
    return 0


def run_self_test(args: argparse.Namespace) -> int:
    """Run ``rpudriver chip self-test``."""
    with opened(args) as chip:
        chip.arm()
        array = devices(chip, args)
        offset = chip.read_matvec(array, torch.zeros(args.reads, array.n_in)).values.mean(0)
        weights = read(chip, array, args.reads)
    print(f"offset of {args.rows} outputs: {float(offset.min()):+.4f} .. {float(offset.max()):+.4f} units")
    print(f"weights: {float(weights.min()):+.4f} .. {float(weights.max()):+.4f}, mean {float(weights.mean()):+.4f}")
    if args.expect is None:
        return 0
    wrong = ((weights - args.expect).abs() > args.within).nonzero().tolist()
    for row, column in wrong[:20]:
        print(f"row {row}, column {column}: {float(weights[row, column]):+.4f}, not {args.expect:+.4f}")
    print(f"{len(wrong)} of {weights.numel()} cross-points are off by more than {args.within:g}")
    return 1 if wrong else 0
