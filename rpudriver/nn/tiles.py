"""A weight matrix of any size as a grid of tiles, each small enough for one array of the chip."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

import torch

from rpudriver.algorithms.base import Algorithm, StateT, load_state, save_state
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.writing import read_weights
from rpudriver.calibration.findings import Finding
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.errors import CalibrationError, CheckpointError
from rpudriver.nn.shadow import Shadow
from rpudriver.reading import managed_reads


@dataclass
class Tile(Generic[StateT]):
    """One tile: the rows and columns of the matrix that it holds, and the algorithm's state."""

    rows: slice
    columns: slice
    state: StateT


class TileGrid(Generic[StateT]):
    """The tiles of one ``n_out x n_in`` matrix, in chip units.

    Every tile has its own arrays, algorithm state, converters and bounds; partial sums are added digitally.

    Parameters
    ----------
    name : str
        Tile (r, c) keeps its arrays on the chip under ``"{name}/{r}.{c}/{role}"``.
    seed : int
        Seed of the pulse trains, and of the inputs with which a shadow is read.
    shadow_every : int, optional
        `backward` multiplies with a `Shadow` that is read again after so many updates; by default it reads the chip.
    """

    def __init__(
        self,
        backend: CrossbarBackend,
        algorithm: Algorithm[StateT],
        name: str,
        n_out: int,
        n_in: int,
        seed: int,
        shadow_every: int | None = None,
    ) -> None:
        self.backend, self.algorithm, self.n_out, self.n_in = backend, algorithm, n_out, n_in
        check_room(backend, algorithm, [(n_out, n_in)])
        self.tiles: list[Tile[StateT]] = []
        for (r, rows), (c, columns) in _cut(backend, n_out, n_in):
            size = rows.stop - rows.start, columns.stop - columns.start
            state = algorithm.init(backend, f"{name}/{r}.{c}", *size, seed)
            self.tiles.append(Tile(rows, columns, state))
        self.shadow = None if shadow_every is None else Shadow((n_out, n_in), shadow_every, seed)

    @property
    def array_names(self) -> list[str]:
        """The names of all arrays on the chip, tile after tile."""
        return [array.name for tile in self.tiles for array in tile.state.arrays.values()]

    def zero_shift(self, method: ZeroShift | None = None) -> dict[str, tuple[Finding, ...]]:
        """Zero-shift the arrays that the algorithm names (`Algorithm.zero_shifted`).

        Parameters
        ----------
        method : configured; its `reference` is the algorithm's. By default `default_zero_shift`.

        Returns
        -------
        What was found wrong with devices, by the name of the array.

        Raises
        ------
        CalibrationError
            If outputs always saturate, so that no points can be read, or the chip returns NaN.
        """
        method, found = method or default_zero_shift(self.algorithm), {}
        for tile in self.tiles:
            for role in self.algorithm.zero_shifted:
                array = tile.state.arrays[role]
                done = replace(method, reference=self.algorithm.reference).fit(self.backend, array)
                found[array.name] = done.findings_
                if self.algorithm.reference == "digital":
                    tile.state = replace(tile.state, points=_digital_points(array.name, done))
        return found

    def write(self, target: torch.Tensor) -> torch.Tensor:
        """Write weights ``[n_out, n_in]`` and return what was achieved.

        The arrays of the algorithm's last role take what the others, as they read, leave of the sum.
        """
        if self.shadow is not None:
            self.shadow.drop()
        achieved = torch.empty(self.n_out, self.n_in)
        for tile in self.tiles:
            *others, (array, factor) = self._terms(tile)
            rest = torch.zeros(array.shape)
            for other, weight in others:
                rest += weight * read_weights(self.backend, other)
            written = self.backend.write(array, (target[tile.rows, tile.columns] - rest) / factor)
            achieved[tile.rows, tile.columns] = factor * written + rest
        return achieved

    def read_weights(self) -> torch.Tensor:
        """Return an estimate of the weights ``[n_out, n_in]`` by reads, on the CPU."""
        weights = torch.zeros(self.n_out, self.n_in)
        for tile in self.tiles:
            for array, factor in self.algorithm.terms(tile.state):
                weights[tile.rows, tile.columns] += factor * read_weights(self.backend, array)
        return weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``W x`` by managed reads, ``[B, n_out]`` for x ``[B, n_in]``."""
        parts = managed_reads(self.backend, [(self._terms(tile), self._cut(x, tile.columns)) for tile in self.tiles])
        return self._sum(parts, [tile.rows for tile in self.tiles], self.n_out)

    def backward(self, d: torch.Tensor) -> torch.Tensor:
        """Return ``W^T d``, ``[B, n_in]`` for d ``[B, n_out]``, by managed transposed reads or by the shadow."""
        if self.shadow is not None:
            parts = [(tile.rows, tile.columns, self._terms(tile)) for tile in self.tiles]
            return self.shadow.backward(self.backend, parts, d)
        jobs = [(self._terms(tile), self._cut(d, tile.rows)) for tile in self.tiles]
        read = managed_reads(self.backend, jobs, transposed=True)
        return self._sum(read, [tile.columns for tile in self.tiles], self.n_in)

    def update(self, x: torch.Tensor, d: torch.Tensor, lr: float) -> None:
        """Train every tile with its slices of x ``[B, n_in]`` and d ``[B, n_out]``."""
        for tile in self.tiles:
            x_tile, d_tile = self._cut(x, tile.columns), self._cut(d, tile.rows)
            tile.state = self.algorithm.step(self.backend, tile.state, x_tile, d_tile, lr)
        if self.shadow is not None:
            self.shadow.note_update()

    def save(self) -> dict[str, Any]:
        """Return the arrays' snapshot, the algorithm's states and the shadow as plain numbers, strings and tensors."""
        states = [
            {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in saved.items()}
            for saved in (save_state(tile.state) for tile in self.tiles)
        ]
        saved = {"chip": self.backend.snapshot(self.array_names), "states": states}
        return saved if self.shadow is None else saved | {"shadow": self.shadow.save()}

    def load(self, saved: dict[str, Any]) -> None:
        """Put back what `save` returned. A shadow that it lacks is read anew when it is needed.

        Raises
        ------
        CheckpointError
            If it belongs to other arrays, another algorithm or another chip; nothing is changed then.
        """
        names, wanted = list(saved["chip"]["arrays"]), self.array_names
        if names != wanted:
            raise CheckpointError(
                f"the checkpoint holds the arrays {', '.join(names)}; this layer has {', '.join(wanted)}. Build it "
                "with the same name, algorithm and chip size"
            )
        for tile, state in zip(self.tiles, saved["states"], strict=True):
            found, needed = _shapes(state), _shapes(save_state(tile.state))
            if found != needed:
                raise CheckpointError(
                    f"the checkpoint's algorithm state is {found}; {type(self.algorithm).__name__} needs {needed}"
                )
        self.backend.restore(saved["chip"])
        for tile, state in zip(self.tiles, saved["states"], strict=True):
            copied = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}
            tile.state = load_state(tile.state, copied)
        if self.shadow is not None:
            self.shadow.load(saved.get("shadow"))

    def _terms(self, tile: Tile[StateT]) -> Any:
        return self.algorithm.terms(tile.state)

    def _cut(self, values: torch.Tensor, lines: slice) -> torch.Tensor:
        """Return the lines that belong to a tile; all of them as they are, for a slice takes a microsecond."""
        return values if lines.stop - lines.start == values.shape[1] else values[:, lines]

    def _sum(self, parts: Sequence[torch.Tensor], lines: Sequence[slice], n: int) -> torch.Tensor:
        """Add up partial results that belong to ranges of n lines."""
        if len(parts) == 1:
            return parts[0]
        if all([part.shape[1] == n for part in parts]):
            return functools.reduce(torch.add, parts)
        out = parts[0].new_zeros(parts[0].shape[0], n)
        for part, where in zip(parts, lines, strict=True):
            out[:, where] += part
        return out


def default_zero_shift(algorithm: Algorithm[Any]) -> AlternatingZeroShift:
    """Return alternating pulses as in the paper; points that are kept digitally are read besides."""
    return AlternatingZeroShift(reads=0 if algorithm.reference == "device" else 32, verify=0)


def _digital_points(array: str, done: ZeroShift) -> torch.Tensor:
    if bool(done.reference_.isnan().any()):
        raise CalibrationError(
            f"array {array!r} has outputs that saturate whatever the input is, so its symmetry points cannot be read; "
            "use other rows, or reference = 'device'"
        )
    return done.reference_.t().contiguous()


def check_room(backend: CrossbarBackend, algorithm: Algorithm[Any], matrices: Iterable[tuple[int, int]]) -> None:
    """Raise `AllocationError` unless the tiles of all matrices ``(n_out, n_in)`` fit on the chip together."""
    backend.check_fit(
        (rows.stop - rows.start, columns.stop - columns.start, algorithm.cell(role))
        for n_out, n_in in matrices
        for (_, rows), (_, columns) in _cut(backend, n_out, n_in)
        for role in algorithm.roles
    )


def _cut(backend: CrossbarBackend, n_out: int, n_in: int) -> Iterator[tuple[tuple[int, slice], tuple[int, slice]]]:
    """Yield the numbered ranges of rows and of columns of each tile."""
    capabilities = backend.capabilities
    rows, columns = _split(n_out, capabilities.rows), _split(n_in, capabilities.columns)
    return itertools.product(enumerate(rows), enumerate(columns))


def _split(lines: int, most: int) -> list[slice]:
    """Return ranges of nearly equal length that cover `lines`, none longer than `most`."""
    count = -(-lines // most)
    edges = [k * lines // count for k in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _shapes(state: dict[str, Any]) -> dict[str, str]:
    """Return what kind of value each entry is."""
    return {
        key: f"tensor {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        for key, value in state.items()
    }
