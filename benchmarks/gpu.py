"""Rows of a GPU: mini-batches whose trains are drawn, checked and applied on it, one call each."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import peer
from benchmarks.chips import SOFT_BOUNDS, Updates, open_chip, synchronised
from benchmarks.contests import DW_MIN
from benchmarks.rows import Case, Contest, Options, UnavailableError
from benchmarks.timing import Call
from benchmarks.updates import LR, MAX_BL, families, gaussian
from rpudriver.backends.updates import Drawing, Update
from rpudriver.trains import TrainSource

_PROFILED = 20  # calls


def cases() -> Iterator[Case]:
    """Yield the rows of this file."""
    for n, samples in ((512, 64), (512, 1), (512, 3200), (1024, 64), (4096, 64)):
        yield Case(f"gpu-update-{n}-b{samples}-soft-bounds", partial(_update, {"response": SOFT_BOUNDS}, n, samples))
    for name, ours, _ in families():
        yield Case(f"gpu-update-512-b64-{name}", partial(_update, ours, 512, 64))


def _update(device: dict[str, Any], n: int, samples: int, options: Options) -> Contest:
    if not torch.cuda.is_available():
        raise UnavailableError("no GPU that torch can use")
    x, d = (values.cuda() for values in gaussian(n, n, samples))
    chip = open_chip(rows=n, columns=n, torch_device="cuda", **device)
    array = chip.allocate("W", n, n)
    turns, numbers = [(x, -d), (x, d)], count(0, samples)
    drawing, source = Drawing(LR, DW_MIN, MAX_BL, True, True), TrainSource(1, "W")

    def ours() -> None:
        turns.reverse()  # so that weights stay in range
        chip.update(Update(array, *turns[0], drawing, source, next(numbers)))

    facts = {
        "device": f"{device['response']['family']} on {torch.cuda.get_device_name()}",
        "kernels_s": lambda: _seconds_of_kernels(ours),
        "crosspoint_updates_a_call": n * n * samples,
    }
    if peer.available():
        facts["peer_device"] = "none: a CPU build beside a GPU would say nothing"
    density = Updates(chip, array, [(x, d)], LR, MAX_BL).density()
    return Contest({"ours": synchronised(ours)}, density, facts)


def _seconds_of_kernels(call: Call) -> dict[str, float]:
    """Return the seconds that the GPU spends a call, by kernel and copy."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(_PROFILED):
            call()
        torch.cuda.synchronize()
    spent = {found.key: found.self_device_time_total * 1e-6 / _PROFILED for found in profiled.key_averages()}
    return {name: seconds for name, seconds in spent.items() if seconds}
