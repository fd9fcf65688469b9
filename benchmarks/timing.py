"""Interleaved timing: the contestants take turns, run by run, so that a disturbance of the machine meets them all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Call = Callable[[], object]

SHORTEST_RUN_S = 0.02  # a call that takes less is repeated within a run
MOST_CALLS = 1000


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one value a run."""

    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def minimum(self) -> float:
        return min(self.runs)


def interleave(calls: Mapping[str, Call], runs: int, repeat: bool = True) -> dict[str, Timing]:
    """Time every call in `runs` rounds, one after the other in each.

    A first round, untimed, compiles kernels and fills caches and tells how often a short call is repeated.

    Parameters
    ----------
    repeat : False leaves the first round out and calls once a run, however short the call is.
    """
    counts = {}
    for name, call in calls.items():
        counts[name] = _calls_a_run(call) if repeat else 1
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            times[name].append(_seconds(call, counts[name]))
    return {name: Timing(tuple(values)) for name, values in times.items()}


def _seconds(call: Call, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _calls_a_run(call: Call) -> int:
    """Warm up and return how often a call fits into the shortest run."""
    call()
    once = _seconds(call, 1)
    if once < SHORTEST_RUN_S:  # one call may have been disturbed
        once = min(once, _seconds(call, 1))
    return max(1, min(MOST_CALLS, round(SHORTEST_RUN_S / max(once, 1e-9))))
