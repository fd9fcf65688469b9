"""Your own training algorithm: mixed precision, where digital memory collects the gradient and the chip gets pulses.

    python examples/own_algorithm.py

``chi += lr * d x^T`` is kept in digital memory, in steps of a pulse; whole steps go to the chip as pulses and leave
the memory. This is the O(n^2) alternative to Tiki-Taka (Nandakumar et al. 2020), in the few lines of one class.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch

from rpudriver.algorithms.base import Algorithm, State
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.nn import AnalogLinear, AnalogOptimizer
from rpudriver.trains import TrainSource, counted_pulses
from rpudriver.types import Array, Pulse


@dataclass(frozen=True)
class MixedState(State):
    """Adds the digital memory chi, ``[n_out, n_in]``, in pulses owed to the chip."""

    chi: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


class MixedPrecision(Algorithm[MixedState]):
    """Coefficients are fields, as in every algorithm; `max_pulses` bounds what one step sends to a device."""

    roles: ClassVar[tuple[str, ...]] = ("C",)
    max_pulses: int = 31

    def init(self, backend: CrossbarBackend, tile: str, n_out: int, n_in: int, seed: int) -> MixedState:
        arrays = self.allocate(backend, tile, n_out, n_in)
        return MixedState(arrays, TrainSource(seed, tile), chi=torch.zeros(n_out, n_in))

    def terms(self, state: MixedState) -> tuple[tuple[Array, float], ...]:
        return ((state.arrays["C"], 1.0),)

    def step(
        self, backend: CrossbarBackend, state: MixedState, x: torch.Tensor, d: torch.Tensor, lr: float
    ) -> MixedState:
        chi = state.chi + lr / backend.capabilities.device.dw_min * d.t() @ x
        counts = chi.trunc().clamp(-self.max_pulses, self.max_pulses)
        if bool(counts.any()):
            backend.run([Pulse(state.arrays["C"], counted_pulses(counts.long()))])
        return replace(state, samples=state.samples + len(x), chi=chi - counts)


def main() -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(256, 8, generator=generator) * 2 - 1
    target = 0.2 * x @ torch.randn(8, 4, generator=generator)
    with make("simulated", preset="asymmetric-100", seed=1) as chip:
        chip.arm()
        layer = AnalogLinear(8, 4, chip, MixedPrecision(), name="fc")
        optimizer = AnalogOptimizer(layer, lr=0.2)
        first = last = 0.0
        for epoch in range(10):
            last = 0.0
            for batch in torch.arange(256).split(8):
                optimizer.zero_grad()
                loss = (layer(x[batch]) - target[batch]).square().mean()
                loss.backward()
                optimizer.step()
                last += loss.item() / 32
            first = first or last
            print(f"epoch {epoch + 1}: loss {last:.4f}")
    return last / first


if __name__ == "__main__":
    main()
