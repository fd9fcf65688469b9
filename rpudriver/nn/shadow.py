"""A digital copy of a matrix on a chip, read again now and then: for chips that cannot be read backwards."""

from collections.abc import Sequence
from typing import Any, Literal, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.orthogonal import amplitude_for, read_orthogonal_sum
from rpudriver.errors import ConfigError, UnsupportedError
from rpudriver.nn.passes import product
from rpudriver.reading import Terms

Backward = Literal["transposed", "shadow"]
Part = tuple[slice, slice, Terms]  # rows and columns of the matrix, and the sum of arrays that holds them

EVERY = 10  # updates, by default
PASSES = 1  # of the orthogonal inputs: W^T d is then off by less than one transposed read (decision 18)
_METERED = ("reads", "chip_time_s", "energy_j")


@final
class Shadow:
    """Multiplies gradients with a copy of the weights instead of reading the chip transposed.

    The copy is the sum that the algorithm's forward pass reads, chip units, extracted by forward reads with orthogonal
    inputs (`rpudriver.calibration.orthogonal`), all in one pass: with read noise s and N vectors of +-1 a weight is off
    by ``s / sqrt(N)``, and ``N >= 2 n_in``. It is read where a gradient needs it and it has seen `every` updates, or
    there is none yet; a layer whose inputs need no gradient costs nothing. Outputs that saturate whatever the input is
    count as zero: they pass no gradient on.

    Parameters
    ----------
    shape : (n_out, n_in)
    every : int
        Updates after which the copy is read again.
    seed : int
        Of the inputs' signs, other ones each time.
    """

    def __init__(self, shape: tuple[int, int], every: int, seed: int) -> None:
        self.every, self._shape, self._seed = every, shape, seed
        self._matrix: torch.Tensor | None = None
        self._age = 0  # updates since it was read
        self._cost: dict[str, int | float] = {"extractions": 0, "reads": 0, "chip_time_s": 0.0, "energy_j": 0.0}

    @property
    def matrix(self) -> torch.Tensor | None:
        """The copy, float32 ``[n_out, n_in]`` on the CPU, chip units; None before the first gradient."""
        return self._matrix

    @property
    def cost(self) -> dict[str, int | float]:
        """How often the copy was read, and its share of what the chip's meter says."""
        return dict(self._cost)

    def backward(self, backend: CrossbarBackend, parts: Sequence[Part], d: torch.Tensor) -> torch.Tensor:
        """Return ``W^T d``, float32 ``[B, n_in]`` for d ``[B, n_out]``, after reading the copy again if it is due.

        Raises
        ------
        CalibrationError
            If the chip returns NaN.
        """
        if self._matrix is None or self._age >= self.every:
            self._matrix, self._age = self._extract(backend, parts), 0
        return product(d, self._matrix)

    def note_update(self) -> None:
        """Count a mini-batch that has changed the weights."""
        self._age += 1

    def drop(self) -> None:
        """Forget the copy, because other weights are written."""
        self._matrix = None

    def save(self) -> dict[str, Any]:
        """Return copy, age and cost for a checkpoint."""
        matrix = None if self._matrix is None else self._matrix.clone()
        return {"matrix": matrix, "age": self._age, "cost": self.cost}

    def load(self, saved: dict[str, Any] | None) -> None:
        """Put back what `save` returned; None drops the copy."""
        if saved is None:
            self.drop()
            return
        matrix = saved["matrix"]
        self._matrix = None if matrix is None else matrix.clone()
        self._age, self._cost = saved["age"], dict(saved["cost"])

    def _extract(self, backend: CrossbarBackend, parts: Sequence[Part]) -> torch.Tensor:
        """Read the weights of all parts; the last copy tells how large inputs may be, the first time they are large."""
        before, matrix = backend.status().cost, torch.zeros(self._shape)
        for rows, columns, terms in parts:
            norm = 0.0 if self._matrix is None else float(self._matrix[rows, columns].norm(dim=1).max())
            amplitude, number = amplitude_for(backend, norm), int(self._cost["extractions"])
            found = read_orthogonal_sum(backend, terms, PASSES, amplitude, self._seed, number)
            matrix[rows, columns] = found.weights.nan_to_num(nan=0.0).float()
        after = backend.status().cost
        self._cost["extractions"] += 1
        for key in _METERED:
            self._cost[key] += after[key] - before[key]
        return matrix


def check_backward(backend: CrossbarBackend, backward: str, shadow_every: int | None) -> int | None:
    """Return after how many updates the copy of a layer's weights is read again; None for transposed reads.

    Raises
    ------
    ConfigError
        If an option is out of range or does not go with the other.
    UnsupportedError
        If the chip has no transposed reads and there is to be no shadow.
    """
    if backward not in ("transposed", "shadow"):
        raise ConfigError(f"backward = {backward!r} must be 'transposed' or 'shadow'")
    if shadow_every is not None and (backward != "shadow" or shadow_every < 1):
        raise ConfigError(
            f"shadow_every = {shadow_every!r} with backward = {backward!r}: it must be at least 1 and goes with "
            "backward = 'shadow'; leave it out otherwise"
        )
    if backward == "shadow":
        return shadow_every or EVERY
    if not backend.capabilities.transposed_reads:
        raise UnsupportedError(
            "this chip has no transposed reads, which back-propagation needs; train with backward = 'shadow', a "
            "digital copy of the weights (training.backward in a config), or choose a chip that has them"
        )
    return None
