"""What a snapshot must be to be restored on a chip."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from rpudriver.backends.numbering import Counters
from rpudriver.backends.placement import Diagonals
from rpudriver.errors import CheckpointError
from rpudriver.types import Array, Cell, Placement

VERSION = 1
PARTS = {"version", "fingerprint", "arrays", "cost"}


def entry(array: Array, counters: Counters, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return what a snapshot holds of an array."""
    return {
        "n_out": array.n_out,
        "n_in": array.n_in,
        "cell": array.cell.value,
        "parts": [(part.array, part.row, part.column) for part in array.parts],
        "samples": counters.samples,
        "vectors": counters.vectors,
        "state": state,
    }


def check_snapshot(
    snapshot: Mapping[str, Any], fingerprint: str, arrays: Mapping[str, Array], space: Diagonals
) -> dict[str, Array]:
    """Return the arrays of a snapshot that can be restored on a chip with a fingerprint, arrays and free space.

    Raises
    ------
    CheckpointError
        If it cannot be.
    """
    if snapshot.get("version") != VERSION:
        raise CheckpointError(
            f"snapshot has version {snapshot.get('version')!r}, this code reads {VERSION}; take a new one"
        )
    if not snapshot.keys() >= PARTS:
        raise CheckpointError(f"snapshot lacks {sorted(PARTS - snapshot.keys())}; take a new one")
    if snapshot["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"snapshot was taken on {snapshot['fingerprint']!r}, this chip is {fingerprint!r}; "
            "open the chip with the same profile, preset and seed"
        )
    saved = {}
    for name, held in snapshot["arrays"].items():
        parts = tuple(Placement(*part) for part in held["parts"])
        array = Array(name, held["n_out"], held["n_in"], Cell(held["cell"]), parts)
        known = arrays.get(name)
        if known is not None and replace(known, parts=parts) != array:
            raise CheckpointError(
                f"snapshot holds {name!r} as {array.shape} with {array.cell.value} cells, the chip has "
                f"{known.shape} with {known.cell.value} cells; restore into a fresh chip"
            )
        if known is None and not space.free(parts):
            raise CheckpointError(
                f"snapshot places {name!r} on lines that other arrays of this chip use; restore into a fresh chip"
            )
        saved[name] = array
    return saved


def check_state(array: Array, state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raise `CheckpointError` unless an array's saved state has the names and shapes of the one it is to replace."""
    found, needed = ({key: tuple(value.shape) for key, value in tensors.items()} for tensors in (state, wanted))
    if found != needed:
        raise CheckpointError(f"state of array {array.name!r} holds {found}, not {needed}; take a new snapshot")
