"""What every training algorithm is: frozen coefficients, and a state that is passed in and handed back."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.updates import NOWHERE, Drawing, Places, Update
from rpudriver.config.model import StrictModel
from rpudriver.trains import TrainSource
from rpudriver.types import Array, Cell


@dataclass(frozen=True)
class State:
    """What an algorithm remembers of one tile.

    Attributes
    ----------
    arrays : the arrays on the chip by their role, for example ``"A"`` and ``"C"``.
    source : where trains draw from.
    samples : gradient samples seen so far; numbers the drawn trains.
    points : float32 tensor ``[n_in, n_out]`` or None, symmetry points of the zero-shifted array that are kept
        digitally, transposed, so that the read of a column subtracts neighbours.
    """

    arrays: Mapping[str, Array]
    source: TrainSource
    samples: int = 0
    points: torch.Tensor | None = None

    def advanced(self, samples: int, **changes: Any) -> Self:
        """Return the state after so many more samples, with other changes if there are any."""
        later = object.__new__(type(self))  # `replace` goes through all fields, which takes as long as a small read
        later.__dict__.update(self.__dict__, samples=self.samples + samples, **changes)
        return later


StateT = TypeVar("StateT", bound=State)


class Algorithm(StrictModel, Generic[StateT]):
    """One way to train the weights of one tile. A subclass is one file.

    Two class attributes describe the arrays: `roles` names them, the last one carries the network's initial
    weights; `zero_shifted` names those whose symmetry point must read as zero before training starts. A reference
    device next to each of their devices holds it, or, with ``reference = "digital"``, the tile's state: that saves the
    devices and serves reads of single columns at O(n), but not whole mat-vecs (`referenced_matvec`).
    """

    roles: ClassVar[tuple[str, ...]]
    zero_shifted: ClassVar[tuple[str, ...]] = ()

    max_bl: Annotated[int, Field(ge=1)] = 31
    update_management: bool = True
    bl_management: bool = True
    reference: Literal["device", "digital"] = "device"

    @property
    def referenced_matvec(self) -> bool:
        """Whether whole mat-vecs of a zero-shifted array are read; its points must then be in reference devices."""
        return False

    @model_validator(mode="after")
    def _has_room_for_points(self) -> Self:
        if self.reference == "digital" and not self.zero_shifted:
            raise ValueError(f"reference = 'digital': {type(self).__name__} has no zero-shifted array; leave it out")
        if self.reference == "digital" and self.referenced_matvec:
            raise ValueError(
                f"reference = 'digital': {type(self).__name__} reads whole mat-vecs of {', '.join(self.zero_shifted)}, "
                "from which digital points would have to be subtracted at O(n^2); use reference = 'device'"
            )
        return self

    def cell(self, role: str) -> Cell:
        """Return the cells of an array: devices with a reference where that is to hold the symmetry point."""
        return Cell.REFERENCE if role in self.zero_shifted and self.reference == "device" else Cell.SINGLE

    def allocate(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int) -> dict[str, Array]:
        """Return the tile's arrays, named ``"{tile}/{role}"`` on the chip."""
        return {role: backend.allocate(f"{tile}/{role}", n_out, n_in, self.cell(role)) for role in self.roles}

    @abstractmethod
    def init(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int, seed: int) -> StateT:
        """Allocate the tile's arrays and return the first state."""

    @abstractmethod
    def terms(self, state: StateT) -> tuple[tuple[Array, float], ...]:
        """Return the (array, weight) sum that makes the network's weights; the array of the last role comes last."""

    @abstractmethod
    def step(self, backend: CrossbarBackend, state: StateT, x: torch.Tensor, d: torch.Tensor, lr: float) -> StateT:
        """Train on a mini-batch and return the next state.

        Parameters
        ----------
        x : float32 tensor ``[B, n_in]``, inputs of the tile.
        d : float32 tensor ``[B, n_out]``, minus the gradient at its output.
        lr : learning rate: the expected change of the weights is ``lr * sum_b d_b x_b^T``.
        """

    def update(
        self,
        backend: CrossbarBackend,
        array: Array,
        source: TrainSource,
        first: int,
        x: torch.Tensor,
        d: torch.Tensor,
        lr: float,
        reads: Places = NOWHERE,
    ) -> Update:
        """Return the update of an array by ``lr * d x^T``, by this algorithm's management and the armed limits.

        Columns are read with the largest input that the chip has and that is armed, 1 on most chips.
        """
        longest, largest = backend.allowed
        dw_min, max_bl = backend.capabilities.device.dw_min, min(self.max_bl, longest)
        drawing = Drawing(lr, dw_min, max_bl, self.update_management, self.bl_management)
        return Update(array, x, d, drawing, source, first, reads, largest)


def save_state(state: State) -> dict[str, Any]:
    """Return everything of a state but the arrays, as plain numbers and tensors."""
    return {f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("arrays", "source")}


def load_state(state: StateT, saved: Mapping[str, Any]) -> StateT:
    """Return `state` with what `save_state` returned put back."""
    return replace(state, **saved)
