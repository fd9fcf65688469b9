"""Operations taken apart into what a bench does: one device at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rpudriver.backends.hardware.driver import KindCodes, Settings
from rpudriver.backends.hardware.operations import Operation, PulseOperation, ReadOperation, Rectangle
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import BoardError


class Train(NamedTuple):
    """Runs of pulses on one device, in order: how many, and up or down."""

    row: int
    column: int
    runs: list[tuple[int, bool]]


def trains(operation: PulseOperation) -> Iterator[Train]:
    """Return the pulses of an operation device by device.

    Devices do not see each other's pulses on this bench (gates are closed, other bit lines float), so that each gets
    all of its own, in the order of the samples, before the next has its turn.
    """
    counts = np.stack([sample.counts(operation.flip) for sample in operation.samples])  # [samples, rows, columns]
    for row, column in np.argwhere(counts.any(0)):
        once = _runs(counts[:, row, column])
        runs = [(once[0][0] * operation.repeat, once[0][1])] if len(once) == 1 else once * operation.repeat
        yield Train(operation.where.row + int(row), operation.where.column + int(column), runs)


def _runs(counts: np.ndarray) -> list[tuple[int, bool]]:
    """Return how many pulses of one direction follow each other."""
    found: list[tuple[int, bool]] = []
    for count in counts[counts != 0].tolist():
        up = count > 0
        if found and found[-1][1] == up:
            found[-1] = found[-1][0] + abs(count), up
        else:
            found.append((abs(count), up))
    return found


def check_kinds(kinds: tuple[KindCodes, ...]) -> None:
    """Refuse kinds that the wiring cannot give.

    Raises
    ------
    BoardError
    """
    for number, kind in enumerate(kinds):
        allowed = [rails for bit, rails in ((1, kind.up), (2, kind.down)) if kind.ways & bit]
        if any(rails[0] or rails[1] or rails[3] for rails in allowed) or (allowed and kind.gate <= 0):
            raise BoardError(
                f"kind {number} drives the rows or has no gate; on a bench only bit lines are driven and gates pick "
                "the row: give the chip biasing 1t1r"
            )


def check(operations: list[Operation], settings: Settings, profile: ChipProfile) -> None:
    """Refuse a batch that goes beyond what is armed, before any of it is sent.

    Raises
    ------
    BoardError
    """
    for number, operation in enumerate(operations):
        problem = _problem(operation, settings, profile)
        if problem:
            raise BoardError(f"operation {number} of the batch is refused, nothing was sent: {problem}")


def _problem(operation: Operation, settings: Settings, profile: ChipProfile) -> str:
    if isinstance(operation, ReadOperation):
        places = [place for place in (operation.where, operation.second) if place is not None]
        largest = int(np.abs(operation.codes).max(initial=0))
        if largest > settings.max_input:
            return f"input code {largest}, at most {settings.max_input}"
    elif isinstance(operation, PulseOperation):
        places = [operation.where]
        if operation.kind >= len(settings.kinds):
            return f"kind {operation.kind}, there are {len(settings.kinds)}"
        longest = max((sample.bl for sample in operation.samples), default=0)
        if longest > settings.max_bl:
            return f"bit length {longest}, at most {settings.max_bl}"
        counts, ways = operation.counts(), settings.kinds[operation.kind].ways
        if ((counts > 0).any() and not ways & 1) or ((counts < 0).any() and not ways & 2):
            return f"kind {operation.kind} is not armed in that direction"
    else:
        return ""
    outside = [place for place in places if not _inside(place, profile)]
    return f"{outside[0]} is not on the chip" if outside else ""


def _inside(place: Rectangle, profile: ChipProfile) -> bool:
    return (
        place.array < profile.arrays
        and place.row + place.rows <= profile.rows
        and place.column + place.columns <= profile.columns
    )
