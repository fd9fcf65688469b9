"""Packing of logical arrays onto the physical arrays of a finite chip: block by block along the diagonal."""

from collections.abc import Iterable

from rpudriver.errors import AllocationError
from rpudriver.types import Array, Cell, Placement


class Diagonals:
    """The free space of a chip.

    Rectangles that share a physical array are placed along its diagonal, so that they never share a line: a pulse
    or a read on one cannot reach the other.
    """

    def __init__(self, arrays: int, rows: int, columns: int) -> None:
        self._arrays, self._rows, self._columns = arrays, rows, columns
        self._corners: dict[int, tuple[int, int]] = {}  # physical array -> the first free row and column

    def copy(self) -> "Diagonals":
        """Return the same free space, to be used up separately."""
        other = Diagonals(self._arrays, self._rows, self._columns)
        other._corners = dict(self._corners)
        return other

    def place(self, name: str, n_out: int, n_in: int, count: int) -> tuple[Placement, ...]:
        """Return `count` free rectangles of ``n_out x n_in``, and mark them used.

        Raises
        ------
        AllocationError
            If they do not fit; nothing is marked then.
        """
        if not name or n_out < 1 or n_in < 1:
            raise AllocationError(f"array {name!r} of {n_out} x {n_in}: give a name and at least one line each way")
        if n_out > self._rows or n_in > self._columns:
            raise AllocationError(
                f"array {name!r} of {n_out} x {n_in} is larger than this chip's arrays of "
                f"{self._rows} x {self._columns}; split it into tiles (AnalogLinear does) or choose a larger chip"
            )
        corners = dict(self._corners)
        found: list[Placement] = []
        for number in range(self._arrays):
            while len(found) < count:
                row, column = corners.get(number, (0, 0))
                if row + n_out > self._rows or column + n_in > self._columns:
                    break
                found.append(Placement(number, row, column))
                corners[number] = (row + n_out, column + n_in)  # on the diagonal: no shared line
        if len(found) < count:
            raise AllocationError(
                f"array {name!r} needs {count} rectangle(s) of {n_out} x {n_in}, but only {len(found)} fit on what is "
                f"left of {self._arrays} arrays of {self._rows} x {self._columns}; use a chip with more arrays, a "
                "smaller network, or cells of one device"
            )
        self._corners = corners
        return tuple(found)

    def free(self, parts: Iterable[Placement]) -> bool:
        """Tell whether rectangles share no line with those that are placed."""
        corners = [(part, self._corners.get(part.array, (0, 0))) for part in parts]
        return all(part.row >= row and part.column >= column for part, (row, column) in corners)

    def occupy(self, parts: Iterable[Placement], n_out: int, n_in: int) -> None:
        """Mark rectangles used that an earlier chip gave away (a snapshot is being restored)."""
        for part in parts:
            row, column = self._corners.get(part.array, (0, 0))
            self._corners[part.array] = (max(row, part.row + n_out), max(column, part.column + n_in))


def check_same(known: Array, n_out: int, n_in: int, cell: Cell) -> None:
    """Raise `AllocationError` where an array that is there already is asked for as another one."""
    if (known.n_out, known.n_in, known.cell) != (n_out, n_in, cell):
        raise AllocationError(
            f"array {known.name!r} exists as {known.shape} with {known.cell.value} cells; "
            f"asked for {(n_out, n_in)} with {cell.value} cells. Use another name"
        )
