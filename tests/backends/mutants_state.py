"""Broken backends, second part: state, limits and reproducibility; see ``mutants.py``."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from rpudriver.backends.base import Numbered
from rpudriver.backends.validation import Limits
from rpudriver.types import Array, Port, Pulse, Read, ReadResult, Step
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
