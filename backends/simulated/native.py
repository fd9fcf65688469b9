"""The bridge between torch banks on the CPU and the compiled kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.kernels import pieces
from rpudriver.backends.simulated.kernels.families import dense_kernel, form_of, sparse_kernel
from rpudriver.backends.simulated.kernels.pieces import TILE, Cut, Side
from rpudriver.backends.simulated.kernels.scratch import LANES
from rpudriver.keyed.threads import share
from rpudriver.types import PulseTrains

# nanoseconds on a 2023 server core; only their ratios matter, to choose the kernel
COLLECT, DRAIN, ROUND = 20.0, 60.0, 20.0  # dense: a piece of a row in a tile, a group of lanes, each round of it
PAIR, EVENT = 1.5, 12.0  # sparse: two lines that fire in one piece, a coincidence
WORTH_A_THREAD = 100_000.0
LONGEST_CALL = 1e9  # repetitions are cut into calls of about a second, between which Ctrl-C is heard
Work = Callable[[int, int, int], None]  # repetitions, first row, row after the last
Scalars = tuple[np.generic, ...]
Snaps = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float32]]  # stops, columns, values


@dataclass(frozen=True)
class Snapshots:
    """Columns to be noted while trains are applied: column ``columns[r]`` after the first ``after[r]`` samples."""

    columns: torch.Tensor
    after: torch.Tensor


NONE = Snapshots(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def has_kernel(bank: Bank) -> bool:
    """Return whether a bank's response is compiled and its state lies on the CPU."""
    return bank.hidden.device.type == "cpu" and bank.family is not None


def apply_trains(
    bank: Bank, trains: PulseTrains, repeat: int, strength: float, flip: bool, snapshots: Snapshots = NONE
) -> torch.Tensor:
    """Pulse a bank with a batch of trains, `repeat` times; return the noted columns, float32 ``[R, n_out]``.

    Snapshots are for trains that are applied once.
    """
    where = pieces.cut(trains)
    rows = pieces.rows_of(trains, where, flip)
    stops = pieces.ends_of(trains, snapshots.after.numpy())
    noted = np.empty((len(stops), bank.shape[0]), np.float32)
    dense, cost = _plan(bank, rows, *pieces.work_of(trains, where, rows), repeat)
    prepare = _dense if dense else _sparse
    wanted = snapshots.columns.numpy().astype(np.int32)
    work = prepare(bank, rows, trains, where, _scalars(bank, strength), (stops, wanted, noted))
    at_once = max(1, int(repeat * LONGEST_CALL / max(cost, 1.0)))
    for start in range(0, repeat, at_once):
        share(bank.shape[0], partial(work, min(at_once, repeat - start)), cost > WORTH_A_THREAD)
    return torch.from_numpy(noted)


def _scalars(bank: Bank, strength: float) -> Scalars:
    """Return keys, strength, noise of a pulse and write noise, in the order in which kernels take them."""
    device = bank.device
    numbers = (strength, device.c2c, device.c2c_additive, device.write_noise * device.dw_min.mean)
    return (*bank.keys, *(np.float32(number) for number in numbers))


def _chip(bank: Bank) -> tuple[np.integer, ...]:
    """Return where a bank's state and parameters lie, and its number of cells."""
    places = (bank.hidden.data_ptr(), bank.pulses.data_ptr(), bank.read.data_ptr(), bank.rows.ctypes.data)
    return (*(np.uint64(place) for place in places), np.int64(bank.hidden.numel()))


def _dense(bank: Bank, rows: Side, trains: PulseTrains, where: Cut, scalars: Scalars, snaps: Snaps) -> Work:
    kernel = dense_kernel(bank.family, form_of(bank.device))
    words, fires = pieces.tiles_of(trains, where)
    stops, columns, noted = snaps
    order = np.argsort(columns // TILE, kind="stable")  # the snapshots of a tile, in their order
    starts = np.searchsorted(columns[order] // TILE, np.arange(len(fires) + 1))
    ordered = np.empty_like(noted)
    chip = (_chip(bank), bank.table, bank.shape[1], words.reshape(-1), fires, rows.start, rows.index, rows.words)
    noting = (stops[order], columns[order], starts, ordered)

    def work(repeat: int, first: int, last: int) -> None:
        kernel(first, last, *chip, repeat, *noting, scalars)
        noted[order, first:last] = ordered[:, first:last]

    return work


def _sparse(bank: Bank, rows: Side, trains: PulseTrains, where: Cut, scalars: Scalars, snaps: Snaps) -> Work:
    kernel = sparse_kernel(bank.family, form_of(bank.device))
    x = pieces.columns_of(trains, where)
    chip = (_chip(bank), bank.table, bank.shape[1], x.start, x.index, x.words, rows.start, rows.index, rows.words)

    def work(repeat: int, first: int, last: int) -> None:
        kernel(first, last, *chip, repeat, *snaps, scalars)

    return work


def _plan(bank: Bank, rows: Side, pairs: int, events: float, repeat: int) -> tuple[bool, float]:
    """Return whether the dense kernel is the faster one, and what the faster one costs in nanoseconds."""
    n_out, n_in = bank.shape
    tiles, groups = -(-n_in // TILE), n_out * -(-n_in // LANES)
    each = repeat * events / groups  # pulses for a group of lanes
    mean = each / LANES
    rounds = 0.0 if each == 0 else min(each, mean + 2 * mean**0.5 + 1)
    drained = groups * (1 - np.exp(-each))
    dense = repeat * len(rows.index) * tiles * COLLECT + drained * (DRAIN + rounds * ROUND)
    sparse = repeat * (pairs * PAIR + events * EVENT)
    return bool(dense < sparse), min(dense, sparse)
