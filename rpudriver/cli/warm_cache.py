"""``rpudriver warm-cache``: compile beforehand what training compiles on first use."""

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import torch
from tqdm import tqdm

from rpudriver.algorithms.base import Algorithm
from rpudriver.algorithms.registry import ALGORITHMS
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.registry import make
from rpudriver.cli.demo import cores
from rpudriver.errors import ConfigError
from rpudriver.keyed.compilation import cache_place, compiled_functions
from rpudriver.nn import AnalogOptimizer, Backward, convert
from rpudriver.trains import TrainSource, draw_trains, single_pulses

DESCRIPTION = "Compile everything that training on simulated chips compiles on first use, and keep it on disk."
EPILOG = """\
examples:
  rpudriver warm-cache                           everything, some minutes; a second time, seconds
  rpudriver warm-cache --preset asymmetric-100   what this preset needs

Compiled code is kept beside the sources, or in the folder that the environment variable NUMBA_CACHE_DIR names.
"""
LINES = 128  # of the arrays that are pulsed
TABLE = {"family": "measured", "w": [-0.6, 0.6], "dw_up": [0.01, 0.01], "dw_down": [0.01, 0.01]}
RESPONSES: list[dict[str, Any]] = [
    {"family": "constant"},
    {"family": "soft-bounds"},
    {"family": "power", "tau": 0.6},
    {"family": "power", "tau": 0.6, "gamma": 1.7},
    {"family": "exponential", "tau": 0.6, "gamma": 1.3},
    TABLE,
]
NOISES: list[dict[str, Any]] = [
    {"c2c": 0.0},
    {"c2c": 0.3},
    {"c2c": 0.0, "c2c_additive": 0.1},
    {"c2c": 0.3, "c2c_additive": 0.1},
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``rpudriver warm-cache`` takes."""
    parser.add_argument("--preset", metavar="NAME", help="only what this device needs: a preset, or a TOML file")
    parser.add_argument("--jobs", metavar="N", type=int, default=0, help="worker processes (default: one a core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(handler=run_warm_cache)


def run_warm_cache(args: argparse.Namespace) -> int:
    """Run ``rpudriver warm-cache``."""
    if args.jobs < 0:
        raise ConfigError(f"--jobs {args.jobs}: give at least 1, or 0 for one a core")
    chips = every_chip() if args.preset is None else [{"preset": args.preset}]
    started = time.perf_counter()
    with tqdm(total=len(chips), desc="compiling", unit="device", disable=args.quiet, file=sys.stderr) as bar:
        compiled = 0
        for count in _warm(chips, min(args.jobs or cores(), len(chips) - 1)):
            compiled += count
            bar.update()
    took = f"{time.perf_counter() - started:.1f} s"
    if compiled:
        print(f"compiled {compiled} functions in {took}; they are kept in {cache_place()}")
    else:
        print(f"nothing to compile: all is in {cache_place()} (looked for {took})")
    return 0


def every_chip() -> list[dict[str, Any]]:
    """Return options of chips that need every kernel: each response family with each form of noise."""
    return [
        {"preset": "idealised", "device": {"response": response} | noise} for response in RESPONSES for noise in NOISES
    ]


def _warm(chips: list[dict[str, Any]], workers: int) -> Iterator[int]:
    """Yield how many functions were compiled for each chip; the first one brings along what all chips share."""
    yield warm(chips[0], everything=True)
    if workers > 0:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for done in as_completed([pool.submit(warm, chip) for chip in chips[1:]]):
                yield done.result()


def warm(options: dict[str, Any], everything: bool = False) -> int:
    """Do what compiles the kernels of a chip, and everything else that training needs; return how much was compiled."""
    before, log = len(compiled_functions()), logging.getLogger("rpudriver")
    level = log.level
    log.setLevel(logging.ERROR)  # the bar says what goes on
    try:
        with make("simulated", **options) as chip:
            chip.arm()
            _pulse(chip)
            if everything:
                _train(chip)
    finally:
        log.setLevel(level)
    return len(compiled_functions()) - before


def _pulse(chip: CrossbarBackend) -> None:
    """Pulse an array densely, then a single device: two kernels."""
    most = chip.capabilities
    array = chip.allocate("warm-cache", min(LINES, most.rows), min(LINES, most.columns))
    bl = min(31, chip.allowed[0])
    source, samples = TrainSource(0, "warm-cache"), 4
    x, d = torch.ones(samples, array.n_in), torch.ones(samples, array.n_out)
    chip.apply_pulses(
        array, draw_trains(x, d, lr=1.0, dw_min=1 / bl, max_bl=bl, source=source, first=0, bl_management=False)
    )
    sign = torch.zeros(1, array.n_out)
    sign[0, 0] = 1.0
    chip.apply_pulses(array, single_pulses(torch.tensor([0]), sign, array.n_in))


def _train(chip: CrossbarBackend) -> None:
    """Take a step of every algorithm, with one sample and with several, for what stands around the kernels."""
    ways: list[tuple[str, type[Algorithm[Any]], Backward]] = [(n, a, "transposed") for n, a in ALGORITHMS.items()]
    ways.append(("shadow", ALGORITHMS["sgd"], "shadow"))
    for name, algorithm, backward in ways:
        plain = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4))
        model = convert(plain, chip, algorithm(), prefix=name, backward=backward)
        optimizer = AnalogOptimizer(model, lr=0.1)
        for batch in (1, 4):
            model(torch.rand(batch, 6)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
