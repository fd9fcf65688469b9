"""Broken backends, second part: state, limits and reproducibility; see ``mutants.py``."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rpudriver.backends.base import Numbered
from rpudriver.backends.validation import Limits
from rpudriver.types import Array, Port, Pulse, Read, ReadResult, Step, Wait
from tests.backends.sound import Sound


class StateNotRestored(Sound):
    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        pass


class SnapshotAliases(Sound):
    """A snapshot holds the chip's own tensors; pulses write into them."""

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        saved = super()._save(array)
        self.given = saved
        return saved

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = super()._execute(steps)
        for numbered in steps:
            if isinstance(numbered.step, Pulse) and hasattr(self, "given"):
                for key, value in super()._save(numbered.step.array).items():
                    self.given[key].copy_(value)
        return results


class SnapshotOfHandles(Sound):
    """A snapshot names a state that only this object knows."""

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        self.kept = getattr(self, "kept", {}) | {array.name: super()._save(array)}
        return {"handle": torch.tensor(len(self.kept))}

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        super()._load(array, getattr(self, "kept", {}).get(array.name, super()._save(array)))


class RunningGenerator(Sound):
    """Noise runs on from read to read and is not part of a snapshot."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        self.calls = getattr(self, "calls", 0) + 1
        return super()._execute([replace(numbered, first=numbered.first + 1000 * self.calls) for numbered in steps])


class NumberedByCall(Sound):
    """Noise is numbered by calls of a sequence (and so differently where a batch is split up)."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        self.calls = getattr(self, "calls", 0) + 1
        return super()._execute([replace(numbered, first=1000 * self.calls) for numbered in steps])


class Unseeded(Sound):
    """Every opened chip draws other noise."""

    seeds = itertools.count()

    def __init__(self) -> None:
        super().__init__(seed=next(Unseeded.seeds))


class LimitsIgnored(Sound):
    def arm(self, limits: Limits | None = None) -> None:
        super().arm()


class NeverIdle(Sound):
    def idle(self) -> None:
        pass


class RepeatsEachSample(Sound):
    """Repeats every sample of a batch by itself, and not the batch."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        parts: list[Numbered] = []
        for numbered in steps:
            step = numbered.step
            if isinstance(step, Pulse) and step.repeat > 1:
                samples = range(len(step.trains))
                parts += [replace(numbered, step=replace(step, trains=step.trains[b : b + 1])) for b in samples]
            else:
                parts.append(numbered)
        return super()._execute(parts)


class WaitRefused(Sound):
    """Knows pulses and reads only."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        if any(isinstance(numbered.step, Wait) for numbered in steps):
            raise TypeError("unknown step Wait")
        return super()._execute(steps)


class WaitForgets(Sound):
    """A wait takes the arrays off their supply, and devices relax to where they were made."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        if any(isinstance(numbered.step, Wait) for numbered in steps):
            for array in self._state.arrays.values():
                saved = self._save(array)
                self._load(array, {k: torch.zeros_like(v) if v.is_floating_point() else v for k, v in saved.items()})
        return super()._execute(steps)


class ArraysShareDevices(Sound):
    """Every array lands on the same devices."""

    def send(self, step: Step) -> Step:
        first = next(iter(self._state.arrays.values()))
        if isinstance(step, Pulse):
            return replace(step, array=first)
        return replace(step, terms=tuple((first, w) for _, w in step.terms)) if isinstance(step, Read) else step


class WritesNothing(Sound):
    def write(self, array: Array, target: torch.Tensor, port: Port = Port.DEVICE) -> torch.Tensor:
        return target.clone()


class MeterBypassed(Sound):
    """A chip that resets its meter when asked for its status."""

    def status(self) -> Any:
        found = super().status()
        return replace(found, cost=dict.fromkeys(found.cost, 0))


class OddShapes(Sound):
    """Outputs come line by line instead of vector by vector."""

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        return [ReadResult(r.values.t().contiguous(), r.saturated.t().contiguous()) for r in super()._execute(steps)]
