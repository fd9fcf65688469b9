"""Inputs for weight extraction: which vectors are read, regenerated from a seed by their numbers.

Inputs are whole levels of the input converter, so it rounds nothing. A design is a function of (seed, vector number):
what was sent need not be kept.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.keyed import arrays as keyed

KEPT = 64  # periods whose draws are kept
SPARE = 16  # vectors beyond the unknowns of an output, at least: they tell its noise


class Design(ABC):
    """Inputs for an array with `lines` input lines.

    Attributes
    ----------
    period : vectors after which columns are orthogonal to each other and to the constant; 1 where they never are.
    orthogonal : whether whole periods make the normal matrix diagonal.
    """

    name: ClassVar[str]
    orthogonal: ClassVar[bool] = True
    period: int

    def __init__(self, lines: int, seed: int, stream: str = "extract") -> None:
        self.lines, self._seed, self._stream = lines, seed, stream

    @abstractmethod
    def levels(self, vectors: torch.Tensor, level: int) -> torch.Tensor:
        """Return inputs as whole levels, float32 ``[V, lines]`` in ``[-level, level]``, of vectors of these numbers."""

    @abstractmethod
    def energy(self, level: int) -> float:
        """Return the mean square of one input, in levels squared."""

    @property
    def patterns(self) -> float:
        """How many of the vectors are rounded each in its own way by the output converter."""
        return math.inf

    @property
    def needed(self) -> int:
        """The fewest vectors that determine the weights, the offset and the noise of an output."""
        return self.whole(self.lines + 1 + SPARE)

    def whole(self, vectors: float) -> int:
        """Return the number of vectors in the whole periods that cover so many."""
        return -(-int(np.ceil(vectors)) // self.period) * self.period

    def _words(self, what: str, step: int, count: int) -> keyed.Words:
        return keyed.draw(keyed.key(self._seed, f"{self._stream}/{what}", step), np.arange(count), 0)


@final
class Orthogonal(Design):
    """Inputs +-level from a Hadamard matrix of order at least twice the number of lines.

    Every vector tells of all weights, three times as much as uniform inputs of the same size, and without their
    chance correlations. The constant column of Sylvester's matrix is left out, so the output offset is orthogonal to
    all weights. Each period has its own choice of columns, signs and order of rows, so that rounding, and weights that
    move meanwhile, average out like noise.
    """

    name: ClassVar[str] = "orthogonal"

    def __init__(self, lines: int, seed: int, stream: str = "extract") -> None:
        super().__init__(lines, seed, stream)
        self._kept: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], keyed.Words]] = {}
        self.period = 1 << max(5, (2 * lines - 1).bit_length())

    def levels(self, vectors: torch.Tensor, level: int) -> torch.Tensor:
        out = torch.empty(len(vectors), self.lines)
        periods = vectors // self.period
        for number in sorted(set(periods.tolist())):
            mine = periods == number
            out[mine] = level * self._rows(number, (vectors[mine] % self.period).numpy())
        return out

    def _rows(self, number: int, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return rows of a period's matrix of +-1."""
        order, columns, negative = self._draws(number)
        parity = np.bitwise_count(order[rows][:, None] & columns[None, :]).astype(np.uint32)
        return torch.from_numpy(1.0 - 2.0 * ((parity ^ negative) & 1).astype(np.float32))

    def _draws(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], keyed.Words]:
        """Return a period's order of rows, choice of columns and signs; the last few are kept."""
        if number not in self._kept:
            order = np.argsort(self._words("rows", number, self.period), kind="stable")
            columns = 1 + np.argsort(self._words("columns", number, self.period - 1), kind="stable")[: self.lines]
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = order, columns, self._words("signs", number, self.lines) >> np.uint32(31)
        return self._kept[number]

    def energy(self, level: int) -> float:
        return float(level) ** 2

    @property
    def patterns(self) -> float:
        return 2.0 ** min(self.lines - 1, 60)


@final
class Uniform(Design):
    """Inputs drawn uniformly from all levels up to the largest [T, eq. 4]; the normal matrix is ``n x n``."""

    name: ClassVar[str] = "uniform"
    orthogonal: ClassVar[bool] = False

    def __init__(self, lines: int, seed: int, stream: str = "extract") -> None:
        super().__init__(lines, seed, stream)
        self.period = 1

    def levels(self, vectors: torch.Tensor, level: int) -> torch.Tensor:
        keys = keyed.key(self._seed, f"{self._stream}/uniform", vectors.numpy()[:, None])
        words = keyed.draw(keys, np.arange(self.lines), 0).astype(np.uint64)
        steps = (words * np.uint64(2 * level + 1)) >> np.uint64(32)
        return torch.from_numpy(steps.astype(np.float32) - np.float32(level))

    def energy(self, level: int) -> float:
        return level * (level + 1) / 3


@final
class OneHot(Design):
    """One line at a time, with both signs; a read tells of one weight only."""

    name: ClassVar[str] = "one-hot"

    def __init__(self, lines: int, seed: int, stream: str = "extract") -> None:
        super().__init__(lines, seed, stream)
        self.period = 2 * lines

    def levels(self, vectors: torch.Tensor, level: int) -> torch.Tensor:
        out = torch.zeros(len(vectors), self.lines)
        place = vectors % self.period
        out[torch.arange(len(vectors)), place % self.lines] = torch.where(place < self.lines, 1.0, -1.0) * level
        return out

    def energy(self, level: int) -> float:
        return float(level) ** 2 / self.lines

    @property
    def patterns(self) -> float:
        return float(self.lines)


DESIGNS: dict[str, type[Design]] = {design.name: design for design in (Orthogonal, Uniform, OneHot)}
