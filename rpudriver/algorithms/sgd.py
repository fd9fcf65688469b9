"""Analog SGD (Gokmen & Vlasov 2016): the gradient goes straight onto the weights.

On asymmetric devices this minimises the objective plus an implicit penalty that pulls every weight to its symmetry
point (Wu et al. 2025, theorem 1).
"""

from typing import ClassVar, Literal

import torch

from rpudriver.algorithms.base import Algorithm, State
from rpudriver.backends.base import CrossbarBackend
from rpudriver.trains import TrainSource
from rpudriver.types import Array


class AnalogSGD(Algorithm[State]):
    """``C += lr * d x^T``, in pulses."""

    roles: ClassVar[tuple[str, ...]] = ("C",)
    name: Literal["sgd"] = "sgd"

    def init(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int, seed: int) -> State:
        return State(self.allocate(backend, tile, n_out, n_in), TrainSource(seed, f"{tile}/trains"))

    def terms(self, state: State) -> tuple[tuple[Array, float], ...]:
        return ((state.arrays["C"], 1.0),)

    def step(self, backend: CrossbarBackend, state: State, x: torch.Tensor, d: torch.Tensor, lr: float) -> State:
        backend.update(self.update(backend, state.arrays["C"], state.source, state.samples, x, d, lr))
        return state.advanced(x.shape[0])
