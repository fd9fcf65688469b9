"""A simulated chip whose lines and converters can be damaged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from rpudriver.backends.base import Numbered
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.types import Pulse, Read, ReadResult


@dataclass(frozen=True)
class Damage:
    """What is wrong: lines that are not connected, outputs that saturate or return NaN, gain and offset of outputs."""

    dead_columns: tuple[int, ...] = ()
    dead_rows: tuple[int, ...] = ()
    saturated: tuple[int, ...] = ()
    nan: tuple[int, ...] = ()
    gain: float = 1.0
    offset: tuple[float, ...] = ()
    decay: float = 0.0  # of all weights with every read


class Faulty(SimulatedBackend):
    """Damaged in how lines are driven and read, not in its devices."""

    def __init__(self, damage: Damage, seed: int = 3, **options: Any) -> None:
        preset, declared = SimulatorOptions(**({"preset": "asymmetric-100"} | options)).load()
        super().__init__(preset, declared, seed, "faulty", torch.device("cpu"))
        self._damage = damage

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        results = []
        for numbered in steps:
            step = numbered.step
            if isinstance(step, Pulse):
                super()._execute([replace(numbered, step=self._cut(step))])
            elif isinstance(step, Read):
                results.append(self._look(numbered, step))
            else:
                super()._execute([numbered])
        return results

    def _cut(self, step: Pulse) -> Pulse:
        x, d = step.trains.x_words.view(torch.int32).clone(), step.trains.d_words.view(torch.int32).clone()
        x[:, list(self._damage.dead_columns)] = 0
        d[:, list(self._damage.dead_rows)] = 0
        trains = replace(step.trains, x_words=x.view(torch.uint32), d_words=d.view(torch.uint32))
        return replace(step, trains=trains)

    def _look(self, numbered: Numbered, step: Read) -> ReadResult:
        damage, x = self._damage, step.x.clone()
        x[:, list(damage.dead_columns)] = 0.0
        (result,) = super()._execute([replace(numbered, step=replace(step, x=x))])
        values, saturated = result.values * damage.gain, result.saturated.clone()
        if damage.offset:
            values = values + torch.tensor(damage.offset)
        values[:, list(damage.saturated)], saturated[:, list(damage.saturated)] = 12.0, True
        values[:, list(damage.nan)] = torch.nan
        if damage.decay:
            ((array, _),) = step.terms
            state = self._save(array)
            self._load(array, {k: v * (1 - damage.decay) if v.is_floating_point() else v for k, v in state.items()})
        return ReadResult(values, saturated)
