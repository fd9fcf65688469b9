"""The plan of a pulse-response sweep: stages of pulses, each ending in a read; and the steps that carry it out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.errors import LimitError
from rpudriver.types import Array, Pulse, PulseTrains, Step, Wait

PHASES = ("hold", "up", "down", "alternate", "single", "return", "wait")  # numbered from 0 in a data set
HOLDS = 4  # reads of the first state: their scatter is that of reading alone


@final
@dataclass(frozen=True)
class Stage:
    """What happens before a read.

    Attributes
    ----------
    phase : one of `PHASES`.
    cycle : number of the sweep, of alternating pulses that of the run; from 0.
    pulses : for every device; up where positive, down where negative.
    pairs : pulses up and down in turn, in pairs.
    wait : seconds.
    """

    phase: str
    cycle: int = 0
    pulses: int = 0
    pairs: int = 0
    wait: float = 0.0

    @property
    def device_pulses(self) -> int:
        """Pulses that a device sees."""
        return abs(self.pulses) + 2 * self.pairs


def plan_sweep(
    n_states: float, cycles: int, points: int, span: float, pairs: float, singles: int, wait: float
) -> list[Stage]:
    """Return the stages: legs up and down, `cycles` times; alternating pulses from either end; single pulses; waiting.

    Parameters
    ----------
    n_states : of the nominal device.
    cycles : sweeps up and down.
    points : groups of pulses in a leg, where it has as many pulses.
    span : pulses of a leg, in n_states.
    pairs : alternating pairs of a run, in n_states.
    singles : pulses one by one at the symmetry point, up and down in turn.
    wait : seconds, at the symmetry point and at the upper end; 0 leaves waiting out.
    """
    leg, alternating = max(1, math.ceil(span * n_states)), math.ceil(pairs * n_states)
    stages = [Stage("hold")] * HOLDS
    for cycle in range(cycles):
        stages += [Stage("up", cycle, size) for size in _groups(leg, points)]
        stages += [Stage("down", cycle, -size) for size in _groups(leg, points)]
    for run in range(2):  # from the lower end, then from the upper one
        stages += [Stage("return", cycles - 1, leg)] * run
        stages += [Stage("alternate", run, 0, size) for size in _groups(alternating, max(1, points // 2))]
    stages += [Stage("single", cycles - 1, 1 - 2 * (number % 2)) for number in range(singles)]
    if wait:
        last = cycles - 1
        stages += [Stage("wait", last, wait=wait), Stage("return", last, leg), Stage("wait", last, wait=wait)]
    return stages


def _groups(pulses: int, most: int) -> list[int]:
    """Return at most so many groups of one size; the last may not be smaller: the sum is rounded up."""
    size = max(1, math.ceil(pulses / most))
    return [size] * math.ceil(pulses / size)


def check_budget(backend: CrossbarBackend) -> None:
    """Raise `LimitError` where the armed limits leave no room for a pair of pulses in one step."""
    limits = backend.status().limits
    if limits is not None and limits.max_device_pulses is not None and limits.max_device_pulses < 2:
        raise LimitError(
            f"max_device_pulses = {limits.max_device_pulses}: alternating pulses come in pairs; arm at least 2"
        )


def steps_of(stage: Stage, backend: CrossbarBackend, array: Array) -> list[Step]:
    """Return the steps of a stage: every line fires in every slot, in trains and repeats within the armed limits."""
    limits = backend.status().limits
    budget = (limits.max_device_pulses if limits else None) or stage.device_pulses or 1
    steps: list[Step] = [Wait(stage.wait)] if stage.wait else []
    if stage.pulses:
        longest = min(backend.allowed[0], budget, abs(stage.pulses))
        for slots, repeat in _portions(abs(stage.pulses), longest, budget):
            steps.append(Pulse(array, _all_lines(array, [stage.pulses], slots), repeat=repeat))
    for start in range(0, stage.pairs, max(1, budget // 2)):
        repeat = min(max(1, budget // 2), stage.pairs - start)
        steps.append(Pulse(array, _all_lines(array, [1, -1], 1), repeat=repeat))
    return steps


def _portions(pulses: int, longest: int, budget: int) -> Iterator[tuple[int, int]]:
    """Yield slots and repeats that add up to some pulses."""
    while pulses:
        slots = min(longest, pulses)
        repeat = max(1, min(pulses, budget) // slots)
        yield slots, repeat
        pulses -= slots * repeat


def _all_lines(array: Array, signs: list[int], slots: int) -> PulseTrains:
    """Return samples of some slots in which all lines fire, up or down by the sign of each sample."""
    samples, words = len(signs), -(-slots // 32)
    room = (slots - 32 * torch.arange(words)).clamp(0, 32)
    word = ((torch.ones_like(room) << room) - 1).to(torch.int32).view(torch.uint32)
    down = torch.tensor(signs) < 0
    return PulseTrains(
        word.expand(samples, array.n_in, words).contiguous(),
        word.expand(samples, array.n_out, words).contiguous(),
        torch.zeros(samples, array.n_in, dtype=torch.bool),
        down[:, None].expand(samples, array.n_out).contiguous(),
        torch.full((samples,), slots),
    )
