"""Tiki-Taka, the first version (Gokmen & Haensch 2020)."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from rpudriver.algorithms.base import Algorithm, State
from rpudriver.algorithms.transfer import one_hot, schedule, train_and_read
from rpudriver.backends.base import CrossbarBackend
from rpudriver.trains import TrainSource
from rpudriver.types import Array


class TikiTaka(Algorithm[State]):
    """Network weights ``gamma A + C``; ``A += fast_lr * d x^T``; every `n_s` updates ``C += lambda (A u_t) u_t^T``.

    A must have its symmetry point at zero. The transfer goes onto C in stochastic pulses; compare `TTv2`, which
    filters it digitally.
    """

    roles: ClassVar[tuple[str, ...]] = ("A", "C")
    zero_shifted: ClassVar[tuple[str, ...]] = ("A",)
    name: Literal["tiki-taka"] = "tiki-taka"

    fast_lr: Annotated[float, Field(gt=0)] = 0.1
    transfer_lr: Annotated[float, Field(gt=0)] = 1.0  # lambda, multiplied by the learning rate
    n_s: Annotated[int, Field(ge=1)] = 1
    gamma: Annotated[float, Field(ge=0)] = 0.0

    @property
    def referenced_matvec(self) -> bool:
        return self.gamma > 0  # the network's weights then hold A

    def init(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int, seed: int) -> State:
        return State(self.allocate(backend, tile, n_out, n_in), TrainSource(seed, f"{tile}/trains"))

    def terms(self, state: State) -> tuple[tuple[Array, float], ...]:
        c = (state.arrays["C"], 1.0)
        return ((state.arrays["A"], self.gamma), c) if self.gamma else (c,)

    def step(self, backend: CrossbarBackend, state: State, x: torch.Tensor, d: torch.Tensor, lr: float) -> State:
        transfers = schedule(state.samples, x.shape[0], self.n_s, x.shape[1])
        a, c, source = state.arrays["A"], state.arrays["C"], state.source
        onto_a = self.update(backend, a, source, state.samples, x, d, self.fast_lr, transfers)
        reads = train_and_read(backend, onto_a, state.points)
        if reads.shape[0]:
            onto_c, first = one_hot(transfers, x.shape[1], reads.device), state.samples // self.n_s
            backend.update(self.update(backend, c, source.transfer, first, onto_c, reads, lr * self.transfer_lr))
        return state.advanced(x.shape[0])
