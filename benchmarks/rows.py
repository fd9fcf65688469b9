"""What a row of the table is, and the list of all rows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numba
import torch

from benchmarks.timing import Call, Timing, interleave

CONTESTANTS = ("ours", "ours_like", "peer", "peer_like", "torch")


class UnavailableError(Exception):
    """A row cannot be measured here; the message says why and what would help."""


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line.

    Attributes
    ----------
    data : folder with the files of MNIST, or None.
    cache : folder for recordings and trained states, outside the repository.
    full : whole epochs instead of a stated share, and trainings that take many minutes.
    """

    data: Path | None
    cache: Path
    runs: int = 7
    full: bool = False


@dataclass(frozen=True)
class Contest:
    """What is timed against what.

    Attributes
    ----------
    calls : by contestant: ``ours`` and ``peer`` at their default settings, ``ours_like`` and ``peer_like`` at the
        settings that `facts` state, ``torch`` for plain torch. A contestant that is missing gets null.
    density : measured coincidences a cross-point and sample of ours, None where nothing is pulsed.
    facts : whatever else a reader needs to know, for the JSON file and the notes.
    once : a run is one call and nothing is warmed up, since each call goes on where the last one stopped.
    runs : where not the number asked for, for example one whole epoch.
    """

    calls: Mapping[str, Call]
    density: float | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    once: bool = False
    runs: int | None = None


@dataclass(frozen=True)
class Case:
    """A row to be: `prepare` makes the contest anew for each number of threads."""

    name: str
    prepare: Callable[[Options], Contest]


def select(cases: Iterator[Case] | list[Case], patterns: list[str]) -> list[Case]:
    """Return the cases whose names match one of the shell patterns, all where none is given.

    Raises
    ------
    ValueError
        If a pattern matches nothing; the message lists the names.
    """
    cases = list(cases)
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in cases):
            raise ValueError(f"no row {pattern!r}; the rows are: " + ", ".join(case.name for case in cases))
    return [case for case in cases if not patterns or any(fnmatchcase(case.name, pattern) for pattern in patterns)]


def measure(case: Case, threads: int, options: Options) -> dict[str, Any]:
    """Return the row of a case at a number of threads, as it goes into the JSON file."""
    try:
        contest = case.prepare(options)
    except UnavailableError as reason:
        return {"name": case.name, "threads": threads, "density": None, "unavailable": str(reason)} | _figures({})
    runs = contest.runs or options.runs
    with _threads(threads):  # not before: a library that is loaded later would keep its own number
        timings = interleave(contest.calls, runs, not contest.once)
    row = {"name": case.name, "density": contest.density, "threads": threads, "runs": runs}
    return row | _figures(timings) | {key: _now(value) for key, value in contest.facts.items()}


def _now(value: Any) -> Any:
    """Return a fact; some are known only after the timing, they are callables."""
    return value() if callable(value) else value


def _figures(timings: Mapping[str, Timing]) -> dict[str, float | None]:
    """Return medians, minima and ratios; null where a contestant is missing."""
    figures: dict[str, float | None] = {}
    for name in CONTESTANTS:
        timing = timings.get(name)
        figures[f"{name}_s"] = timing.median if timing else None
        figures[f"{name}_min_s"] = timing.minimum if timing else None
    for label, end in (("ratio", "_s"), ("ratio_min", "_min_s")):
        figures[label] = _quotient(figures["peer" + end], figures["ours" + end])
    figures["ratio_like"] = _quotient(figures["peer_like_s"], figures["ours_like_s"])
    figures["ratio_like_min"] = _quotient(figures["peer_like_min_s"], figures["ours_like_min_s"])
    return figures


def _quotient(peer: float | None, ours: float | None) -> float | None:
    return None if peer is None or ours is None else peer / ours


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Give torch and Numba, whatever of them our kernels follow, `count` threads, and every BLAS one.

    Only the peer uses a BLAS of its own, for products of a matrix and a vector: more threads made them slower wherever
    it was tried, up to tenfold on a busy machine. Its update knows one thread only.
    """
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, before[1]))
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
