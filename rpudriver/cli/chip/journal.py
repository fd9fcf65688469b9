"""``rpudriver chip journal``: what was done to a chip, for people and for other programs."""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Reply, Ticket
from rpudriver.backends.hardware.journal_records import Line, Type, lines
from rpudriver.errors import ConfigError


def add_arguments(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("journal", help="what was done to a chip, batch by batch; no chip is needed")
    parser.add_argument("file", metavar="FILE", type=Path, help="chip.journal of a run, see `rpudriver chip status`")
    parser.add_argument(
        "--csv", action="store_true",
        help="every device and its pulses: batch, operation, array, row, column, kind, pulses (negative: down)",
    )  # fmt: skip
    parser.add_argument("--input-bits", metavar="N", type=int, default=7, help="of the chip profile (default: 7)")
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if not args.file.is_file():
        raise ConfigError(f"no journal {args.file}; a run keeps chip.journal in its folder")
    if args.csv:
        _table(args.file, args.input_bits)
    else:
        for line in lines(args.file):
            print(_words(line))
    return 0


def _words(line: Line) -> str:
    """Return a record for people."""
    what = line.type.name.lower()
    if line.number is None:
        return f"{line.content['date']} {what}: " + ", ".join(
            f"{key} {value}" for key, value in line.content.items() if key != "date"
        )
    match line.content:
        case (Ticket() as ticket, bytes() as operations):
            what += f" (session {ticket.session:08x}, number {ticket.seq}): " + _summary(operations)
        case Reply() as reply:
            what += f": {len(reply.records)} bytes" + (", current limit hit" if reply.tripped else "")
        case str() as error if line.type is Type.LEFT:
            what = f"was left: the program was told {error}, and went on"
        case str() as reason:
            what += f": {reason}"
        case Ticket() as ticket:
            what += f" (session {ticket.session:08x}, number {ticket.seq}): it was not done under the number before"
        case None:
            what = "was not done under that number, and cannot be any more"
        case _:
            what += f": {len(line.content)} bytes read back"
    return f"batch {line.number} {what}"


def _summary(operations: bytes) -> str:
    """Return what a batch does, an item for each operation."""
    items = []
    for op, flags, body in wire.pieces(operations):
        if op == wire.PULSE:
            array, kind, row, rows, column, columns, samples, repeat = wire.PULSE_HEAD.unpack_from(body)
            what = f"pulse kind {kind}, {samples} samples x {repeat}"
        elif op == wire.READ:
            array, _, row, rows, column, columns, vectors = wire.READ_HEAD.unpack_from(body)
            what = f"read {vectors} vectors{' transposed' if flags & wire.TRANSPOSED else ''}"
        else:
            items.append(f"wait {wire.WAIT_BODY.unpack(body)[0]} us")
            continue
        items.append(f"{what}, array {array} rows {row}..{row + rows - 1} columns {column}..{column + columns - 1}")
    return "; ".join(items)


def _table(path: Path, input_bits: int) -> None:
    """Write the pulses of batches that are known to have been done."""
    out = csv.writer(sys.stdout)
    out.writerow(("batch", "operation", "array", "row", "column", "kind", "pulses"))
    waiting: bytes = b""
    for line in lines(path):
        if line.type is Type.INTENT:
            waiting = line.content[1]
        if line.type is not Type.RESULT or line.number is None:
            continue
        for n, operation in enumerate(wire.decode(waiting, input_bits)):
            if isinstance(operation, wire.PulseOperation):
                where = operation.where
                counts = operation.counts()
                for row, column in np.argwhere(counts).tolist():
                    place = where.array, where.row + row, where.column + column
                    out.writerow((line.number, n, *place, operation.kind, int(counts[row, column])))
