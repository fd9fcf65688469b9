"""Rows of noisy, quantised reads ``W x``: 7 bits in, 9 bits out, noise 0.06."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks import peer, plain
from benchmarks.chips import SOFT_BOUNDS, open_chip
from benchmarks.rows import Case, Contest, Options
from benchmarks.timing import Call
from rpudriver.reading import managed_read
from rpudriver.types import Read


def cases() -> Iterator[Case]:
    """Yield the rows of this file."""
    for samples in (64, 1):
        yield Case(f"matvec-512-b{samples}", partial(_read, 512, samples))


def _read(n: int, samples: int, options: Options) -> Contest:
    draw = torch.Generator().manual_seed(1)
    x = torch.empty(samples, n).uniform_(-1, 1, generator=draw)
    weights = torch.empty(n, n).uniform_(-0.3, 0.3, generator=draw)
    chip = open_chip(SOFT_BOUNDS, n, n)
    terms = ((chip.allocate("W", n, n), 1.0),)
    chip.write(terms[0][0], weights)  # within a few per cent; no output comes near the bound of 12
    calls: dict[str, Call] = {
        "ours": lambda: managed_read(chip, terms, x),
        "ours_like": lambda: chip.run([Read(terms, x)]),
        "torch": plain.read_call(weights, x),
    }
    if peer.available():
        calls["peer"] = peer.read_call(weights, x, managed=True)
        calls["peer_like"] = peer.read_call(weights, x, managed=False)
    settings = "noise and bound management on, inputs uniform in +-1, weights in +-0.3; like: both off"
    return Contest(calls, None, {"settings": settings})
