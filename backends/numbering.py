"""Steps as a backend gets them: numbered, and split where the chip cannot take them whole."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch

from rpudriver.types import Array, Pulse, Read, ReadResult, Scan, Step, Wait


@final
@dataclass(frozen=True)
class Numbered:
    """A step and the numbers of its first sample and vector.

    Both count from zero, for each array by itself.

    Attributes
    ----------
    first : of the first sample, or of the first vector of a `Read`; a `Read` of several arrays holds the number that
        its first array has reached. `Wait` is always 0.
    vector : of the first vector of a `Scan`.
    """

    step: Step
    first: int = 0
    vector: int = 0


@dataclass
class Counters:
    """How many pulse-train samples and read vectors an array has seen."""

    samples: int = 0
    vectors: int = 0


def number(step: Step, counters: dict[str, Counters]) -> Numbered:
    """Return a numbered step, and advance the counters of the arrays that it touches."""
    match step:
        case Pulse():
            own = counters[step.array.name]
            numbered = Numbered(step, own.samples)
            own.samples += step.repeat * len(step.trains)
        case Read():
            numbered = number_read(step, counters)
        case Scan():
            own = counters[step.array.name]
            numbered = Numbered(step, own.samples, own.vectors)
            own.samples += len(step.trains)
            own.vectors += step.columns.shape[0]
        case Wait():
            numbered = Numbered(step)
    return numbered


def number_read(step: Read, counters: dict[str, Counters]) -> Numbered:
    """Return a numbered read, and advance the counters of its arrays, each once."""
    return Numbered(step, advance(step.terms, step.x.shape[0], counters))


def advance(terms: Sequence[tuple[Array, float]], vectors: int, counters: dict[str, Counters]) -> int:
    """Return the number of the first vector of a sum, and advance the counters of its arrays, each once."""
    head = counters[terms[0][0].name]
    first = head.vectors
    if len(terms) == 1:
        head.vectors += vectors
    else:
        for name in {array.name for array, _ in terms}:
            counters[name].vectors += vectors
    return first


def expand(numbered: Numbered) -> list[Numbered]:
    """Return the numbered `Pulse` and `Read` steps that a numbered `Scan` stands for, vectors of one place together.

    For backends without scans of their own, and those that need it for some chips only.
    """
    scan = numbered.step
    if not isinstance(scan, Scan):
        return [numbered]
    after, terms = scan.after.tolist(), ((scan.array, 1.0),)
    x = torch.zeros(len(after), scan.array.n_in)
    x[torch.arange(len(after)), scan.columns] = scan.amplitude
    x = x.to(scan.trains.device)
    steps, start, r = [], 0, 0
    while r < len(after):
        place, stop = after[r], bisect_right(after, after[r])
        if place > start:
            steps.append(Numbered(Pulse(scan.array, scan.trains[start:place], scan.kind), numbered.first + start))
        steps.append(Numbered(Read(terms, x[r:stop]), numbered.vector + r))
        start, r = place, stop
    if start < len(scan.trains):
        steps.append(Numbered(Pulse(scan.array, scan.trains[start:], scan.kind), numbered.first + start))
    return steps


def is_plain(terms: Sequence[tuple[Array, float]]) -> bool:
    """Return whether a sum is of one array as it is."""
    return len(terms) == 1 and terms[0][1] == 1.0


def split(step: Read) -> list[Read]:
    """Return the reads that a chip without summed reads makes of a sum, or the step itself."""
    if is_plain(step.terms):
        return [step]
    return [Read(((array, 1.0),), step.x, step.transposed) for array, _ in step.terms]


def joined(step: Read | Scan, parts: Sequence[ReadResult]) -> ReadResult:
    """Return the result of a step from those of its parts: the terms of a sum, or the places of a scan."""
    if isinstance(step, Scan):
        return _chained(step, parts)
    weights = [weight for _, weight in step.terms]
    values = torch.stack([weight * part.values for weight, part in zip(weights, parts, strict=True)]).sum(0)
    return ReadResult(values, torch.stack([part.saturated for part in parts]).any(0))


def _chained(scan: Scan, parts: Sequence[ReadResult]) -> ReadResult:
    if parts:
        return ReadResult(torch.cat([part.values for part in parts]), torch.cat([part.saturated for part in parts]))
    nothing = torch.zeros(0, scan.array.n_out, device=scan.trains.device)
    return ReadResult(nothing, nothing > 0)


def join_all(
    steps: Sequence[Step], plan: Sequence[Sequence[Numbered]], results: Sequence[ReadResult]
) -> tuple[ReadResult, ...]:
    """Put together the results of steps that were sent in parts."""
    whole, taken = [], 0
    for step, sent in zip(steps, plan, strict=True):
        if isinstance(step, (Read, Scan)):
            if len(sent) == 1 and sent[0].step is step:
                parts, result = 1, results[taken]
            else:
                parts = sum(isinstance(part.step, Read) for part in sent)
                result = joined(step, results[taken : taken + parts])
            taken += parts
            whole.append(result)
    return tuple(whole)
