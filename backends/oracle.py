"""The true weights of a simulated chip: for tests and plots only, and the layer check holds to that."""

from typing import Protocol, runtime_checkable

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.errors import UnsupportedError
from rpudriver.types import Array, Port


@runtime_checkable
class Oracle(Protocol):
    """What a simulated chip knows and a real one does not."""

    def true_weights(self, array: Array) -> torch.Tensor:
        """Return the read state of the cells, ``[n_out, n_in]``, without read noise."""

    def true_state(self, array: Array, port: Port) -> torch.Tensor:
        """Return the hidden state of one device of each cell, ``[n_out, n_in]``."""

    def set_true_state(self, array: Array, port: Port, state: torch.Tensor) -> None:
        """Put devices into a state (clipped to their bounds), without pulses."""

    def device_parameters(self, array: Array, port: Port) -> dict[str, torch.Tensor]:
        """Return the drawn parameters of one device of each cell."""


def oracle(backend: CrossbarBackend) -> Oracle:
    """Return the view of a backend's true state.

    Raises
    ------
    UnsupportedError
        If the backend is a real chip, which has no such view.
    """
    view = getattr(backend, "_oracle", None)
    if view is None:
        raise UnsupportedError(f"{type(backend).__name__} does not know its true weights; read them instead")
    found: Oracle = view()
    return found
