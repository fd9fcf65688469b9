"""TTv2 (Gokmen 2021): Tiki-Taka with a digital low-pass filter H between A and C."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from rpudriver.algorithms.base import Algorithm, State
from rpudriver.algorithms.filtering import filter_reads
from rpudriver.algorithms.transfer import schedule, train_and_read
from rpudriver.backends.base import CrossbarBackend
from rpudriver.trains import TrainSource
from rpudriver.types import Array, Pulse


@dataclass(frozen=True)
class TTv2State(State):
    """Adds the digital buffer ``H``, in pulses owed to C.

    Attributes
    ----------
    buffer : float32 tensor ``[n_in, n_out]``
        ``H`` transposed, so that a transfer touches neighbours. A step moves it in place: it belongs to the latest
        state, and an earlier one to be kept needs a copy.
    """

    buffer: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


class TTv2(Algorithm[TTv2State]):
    """Network weights C; ``A += fast_lr * d x^T``; every `n_s` updates ``H[:, t] += lambda * A u_t / dw_min``.

    Where ``|H| >= 1`` one pulse of that sign goes to C and H is lowered by ``1 - hysteresis``. ``hysteresis = 0`` is
    the plain method; a positive fraction of the pulse that fired stays behind, so the next one of that sign comes
    sooner and one of the other sign later. Digital work is O(n) a transfer.
    """

    roles: ClassVar[tuple[str, ...]] = ("A", "C")
    zero_shifted: ClassVar[tuple[str, ...]] = ("A",)
    name: Literal["ttv2"] = "ttv2"

    fast_lr: Annotated[float, Field(gt=0)] = 0.1
    transfer_lr: Annotated[float, Field(gt=0)] = 1.0  # lambda, multiplied by the learning rate
    n_s: Annotated[int, Field(ge=1)] = 1
    hysteresis: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def init(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int, seed: int) -> TTv2State:
        arrays = self.allocate(backend, tile, n_out, n_in)
        return TTv2State(arrays, TrainSource(seed, f"{tile}/trains"), buffer=torch.zeros(n_in, n_out))

    def terms(self, state: TTv2State) -> tuple[tuple[Array, float], ...]:
        return ((state.arrays["C"], 1.0),)

    def step(
        self, backend: CrossbarBackend, state: TTv2State, x: torch.Tensor, d: torch.Tensor, lr: float
    ) -> TTv2State:
        transfers = schedule(state.samples, x.shape[0], self.n_s, x.shape[1])
        a, source = state.arrays["A"], state.source
        onto_a = self.update(backend, a, source, state.samples, x, d, self.fast_lr, transfers)
        reads = train_and_read(backend, onto_a, state.points)
        buffer = state.buffer.to(reads.device)  # made on the CPU
        if reads.shape[0]:
            gain = lr * self.transfer_lr / backend.capabilities.device.dw_min
            onto_c = filter_reads(buffer, transfers.columns, reads, gain, self.hysteresis)
            backend.run([Pulse(state.arrays["C"], onto_c)])
        return state.advanced(x.shape[0], buffer=buffer)
