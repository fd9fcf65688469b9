"""Contests of pulsed updates: the same batches on our chip and on aihwkit's nearest device."""

from collections.abc import Sequence
from typing import Any

from benchmarks import peer
from benchmarks.chips import Batch, Updates, open_chip
from benchmarks.density import expected_density
from benchmarks.rows import Contest
from benchmarks.timing import Call

DW_MIN = 1e-3


def update(
    ours: dict[str, Any], theirs: tuple[str, dict[str, Any]], batches: Sequence[Batch], lr: float, max_bl: int
) -> Contest:
    """Return the contest of one array; a call updates it with every batch, and both sides draw trains in every call.

    The defaults of both sides are the same: update and bit-length management on. ``like`` is both off, which leaves
    the expected update and (where nothing is clipped) the density as they are and makes trains `max_bl` long.

    Parameters
    ----------
    ours : keys of our device, ``response`` among them.
    theirs : kind and settings of aihwkit's device; spreads, steps and bounds are ours unless it says otherwise.
    """
    shape = batches[0][1].shape[1], batches[0][0].shape[1]
    sides = {name: _ours(ours, shape, batches, lr, max_bl, name == "ours") for name in ("ours", "ours_like")}
    calls: dict[str, Call] = dict(sides)
    facts: dict[str, Any] = {
        "device": ours["response"]["family"],
        "settings": f"lr {lr}, dw_min {DW_MIN}, BL up to {max_bl}, update and bit-length management on; like: both off",
        "like_density": sides["ours_like"].density(),
        "samples_a_call": sum(len(x) for x, _ in batches),
    }
    if peer.available():
        settings = peer_device(theirs)
        for name, managed in (("peer", True), ("peer_like", False)):
            calls[name] = peer.update_call(shape, batches, lr, max_bl, managed, settings)
        drawn = [len(x) * expected_density(x, d, lr=lr, dw_min=DW_MIN, max_bl=max_bl) for x, d in batches]
        facts |= {"peer_device": f"{theirs[0]}Device", "peer_density": sum(drawn) / facts["samples_a_call"]}
    return Contest(calls, sides["ours"].density(), facts)


def _ours(
    device: dict[str, Any], shape: tuple[int, int], batches: Sequence[Batch], lr: float, max_bl: int, managed: bool
) -> Updates:
    chip = open_chip(rows=shape[0], columns=shape[1], **device)
    return Updates(chip, chip.allocate("W", *shape), batches, lr, max_bl, managed)


def peer_device(theirs: tuple[str, dict[str, Any]]) -> Any:
    """Return aihwkit's device with our spreads, steps and bounds."""
    kind, settings = theirs
    common: dict[str, Any] = {"dw_min": DW_MIN, "dw_min_dtod": 0.3, "dw_min_std": 0.3, "up_down_dtod": 0.01}
    bounds = {"w_max": 0.6, "w_min": -0.6, "w_max_dtod": 0.3, "w_min_dtod": 0.3}
    return peer.device(kind, **(common | bounds | settings))


def join(contests: Sequence[Contest], cells: Sequence[int]) -> Contest:
    """Return the contest whose call makes the calls of several arrays, one after the other.

    Parameters
    ----------
    cells : cross-points of each array, which weigh the densities.
    """
    if len(contests) == 1:
        return contests[0]
    calls = {name: _together([contest.calls[name] for contest in contests]) for name in contests[0].calls}
    facts = dict(contests[0].facts) | {"densities": [contest.density for contest in contests]}
    for key in ("like_density", "peer_density"):
        if key in facts:
            facts[key] = _mean([contest.facts[key] for contest in contests], cells)
    return Contest(calls, _mean([contest.density or 0.0 for contest in contests], cells), facts)


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)


def _together(calls: list[Call]) -> Call:
    def call() -> None:
        for each in calls:
            each()

    return call
