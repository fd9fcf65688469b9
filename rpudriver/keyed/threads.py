"""Rows of an array shared among threads, as many as torch uses.

Kernels let go of the interpreter, so plain threads do; a result never depends on how rows are shared.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch

_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive it


BLOCKS = 4  # for each thread, at most: one that is held up then leaves blocks to the others
WORTH_A_THREAD = 400_000.0  # nanoseconds of work below which a second thread costs more than it brings
WORTH_A_BLOCK = 300_000.0


def share(rows: int, work: Callable[[int, int], None], cost: float) -> None:
    """Call ``work(first, last)`` for ranges that cover all rows; `cost` is that of all of them, in nanoseconds."""
    count = min(torch.get_num_threads(), rows) if cost > WORTH_A_THREAD else 1
    if count < 2:
        work(0, rows)
        return
    parts = min(rows, count * max(1, min(BLOCKS, int(cost / count / WORTH_A_BLOCK))))
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
            if not future.cancel():  # a thread that woke up too late has nothing left to do: not waited for
                future.result()


def _pool(helpers: int) -> ThreadPoolExecutor:
    if helpers not in _pools:
        _pools[helpers] = ThreadPoolExecutor(helpers, "rpudriver")
    return _pools[helpers]
