"""Rows of an array shared among threads, as many as torch uses.

Kernels let go of the interpreter, so plain threads do; a result never depends on how rows are shared.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


BLOCKS = 4  # for each thread: one that is held up then leaves blocks to the others


def share(rows: int, work: Callable[[int, int], None], worth: bool) -> None:
    """Call ``work(first, last)`` for ranges that cover all rows, on one thread unless more are worth it."""
    count = min(torch.get_num_threads(), rows) if worth else 1
    if count < 2:
        work(0, rows)
        return
    parts = min(rows, BLOCKS * count)
    edges = [k * rows // parts for k in range(parts + 1)]
    blocks = pairwise(edges)  # the interpreter hands each range to one thread only

    def take() -> None:
        for block in blocks:
            work(*block)

    waiting = [_pool(count - 1).submit(take) for _ in range(count - 1)]
    try:
        take()
    finally:
        for future in waiting:
            future.result()


def _pool(helpers: int) -> ThreadPoolExecutor:
    if helpers not in _pools:
        _pools[helpers] = ThreadPoolExecutor(helpers, "rpudriver")
    return _pools[helpers]
