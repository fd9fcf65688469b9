"""Arrays: allocated once by name, refused where they do not fit, never reached by what is meant for others."""

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.checker.bench import Bench, Check, CheckFailedError, require
from rpudriver.errors import AllocationError
from rpudriver.types import Cell


def allocate_idempotent(bench: Bench) -> None:
    """Asking for a name again returns the same array and leaves its weights alone."""
    array = bench.square()
    bench.pattern(array, torch.ones(array.shape, dtype=torch.bool))
    before = bench.weights(array)
    again = bench.chip.allocate(array.name, array.n_out, array.n_in)
    require(again == array, f"the second call returned {again}, the first {array}")
    change = bench.weights(array) - before
    bench.stayed(change, "weights of an array that is asked for again")
    require(array in bench.chip.status().arrays, f"status() does not list {array}")


def allocate_refuses(bench: Bench) -> None:
    """A name of another shape or cell, and an array that cannot fit, raise AllocationError."""
    array = bench.square()
    rows, columns, arrays = bench.capabilities.rows, bench.capabilities.columns, bench.capabilities.arrays
    _refused(bench.chip, "taken by another shape", array.name, array.n_out - 1, array.n_in, Cell.SINGLE)
    _refused(bench.chip, "taken by another cell", array.name, array.n_out, array.n_in, Cell.REFERENCE)
    _refused(bench.chip, "more rows than the chip has", "tall", rows + 1, 1, Cell.SINGLE)
    _refused(bench.chip, "more columns than the chip has", "wide", 1, columns + 1, Cell.SINGLE)
    if arrays > 1024:
        return  # too many to fill up
    try:
        for number in range(arrays + 1):  # arrays of full width, so that no two share a physical array
            bench.chip.allocate(f"full {number}", 1, columns)
    except AllocationError:
        return
    raise CheckFailedError(f"{arrays + 1} arrays of all columns were allocated on a chip that declares {arrays}")


def _refused(chip: CrossbarBackend, why: str, name: str, n_out: int, n_in: int, cell: Cell) -> None:
    try:
        chip.allocate(name, n_out, n_in, cell)
    except AllocationError:
        return
    raise CheckFailedError(
        f"an array that is to be refused ({why}) was allocated: {name!r}, {n_out} x {n_in}, {cell.value}"
    )


def arrays_isolated(bench: Bench) -> None:
    """Pulses on one array leave the weights of another as they are."""
    first, second = bench.square("first"), bench.square("second")
    bench.to_bottom(first)
    bench.to_bottom(second)
    before = bench.weights(first), bench.weights(second)
    bench.drive(second, bench.push)
    bench.moved_up(bench.weights(second) - before[1], "the array that was pulsed")
    bench.stayed(bench.weights(first) - before[0], "the other array")


CHECKS = (
    Check("allocate-idempotent", allocate_idempotent, "_allocate is not to touch an array that exists already."),
    Check("allocate-refuses", allocate_refuses, "The declared rows, columns or arrays are not those of the chip."),
    Check(
        "arrays-isolated",
        arrays_isolated,
        "Arrays share devices: honour the rows, columns and physical array of Array.parts, or keep state by name.",
    ),
)
