"""The bridge between torch banks on the CPU and the compiled kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.kernels import pieces
from rpudriver.backends.simulated.kernels.batch import run_given
from rpudriver.backends.simulated.kernels.calls import DENSE, SPARSE, kernel_address
from rpudriver.backends.simulated.kernels.families import dense_kernel, form_of, sparse_kernel
from rpudriver.backends.simulated.kernels.lookup import addressed
from rpudriver.backends.simulated.kernels.pieces import Pieces
from rpudriver.backends.simulated.kernels.plan import plan
from rpudriver.backends.simulated.kernels.steps import ADDITIVE
from rpudriver.keyed import threads
from rpudriver.types import PulseTrains

CUT = 2.5  # nanoseconds for a line and sample, cut into pieces
SAMPLES_AT_ONCE = 64  # their words, for a tile of columns, stay in the fastest cache
BLOCKS = 16  # of so many samples, whose rows threads share once; one thread is faster block by block
LONGEST_CALL = 1e9  # repetitions are cut into calls of about a second, between which Ctrl-C is heard
Columns = npt.NDArray[np.int64]
Noted = npt.NDArray[np.float32]
Work = Callable[[int, int, int], None]  # repetitions, first row, row after the last


@dataclass(frozen=True)
class Snapshots:
    """Columns to be noted while trains are applied: column ``columns[r]`` after the first ``after[r]`` samples.

    Both are contiguous and can be written to, as all arrays that compiled code takes.
    """

    columns: Columns
    after: Columns


NONE = Snapshots(np.zeros(0, np.int64), np.zeros(0, np.int64))


def has_kernel(bank: Bank) -> bool:
    """Return whether a bank's response is compiled and its state lies on the CPU."""
    return bank.family is not None and bank.hidden.is_cpu


def apply_trains(
    bank: Bank, trains: PulseTrains, repeat: int, strength: float, flip: bool, snapshots: Snapshots = NONE
) -> torch.Tensor:
    """Pulse a bank with a batch of trains, `repeat` times; return the noted columns, float32 ``[R, n_out]``.

    Snapshots are for trains that are applied once.
    """
    if len(trains) > SAMPLES_AT_ONCE and not len(snapshots.after):
        together = SAMPLES_AT_ONCE * (BLOCKS if torch.get_num_threads() > 1 else 1)
        for _ in range(repeat):
            for start in range(0, len(trains), together):
                _apply_blocks(bank, trains[start : start + together], strength, flip)
        return torch.empty(0, bank.shape[0])
    given, columns, after = trains.arrays, snapshots.columns, snapshots.after
    samples, n_in, words = given[0].shape
    memory, stops = pieces.room(samples, 32 * words, n_in, bank.shape[0]), np.empty(len(after), np.int32)
    noted, call = np.empty((len(after), bank.shape[0]), np.float32), call_of(bank, strength)
    sign, shape = int(pieces.SIGN) if flip else 0, (samples, n_in, bank.shape[0])
    own = call.bank, call.scalars, call.addresses(), alone(), int(repeat)
    done, found = run_given(given, sign, shape, (columns, after), (*memory, stops), noted, *own)
    if not done:
        apply_cut(bank, pieces.pieces_in(memory, stops, found), strength, columns, noted, repeat)
    return torch.from_numpy(noted)


def alone() -> float:
    """Return what work may cost that one thread does in one call: Ctrl-C is heard after it."""
    return threads.WORTH_A_THREAD if torch.get_num_threads() > 1 else LONGEST_CALL


def _apply_blocks(bank: Bank, trains: PulseTrains, strength: float, flip: bool) -> None:
    """Pulse a bank once with trains that are cut block by block; each thread takes its rows through all of them."""
    blocks = [trains[start : start + SAMPLES_AT_ONCE] for start in range(0, len(trains), SAMPLES_AT_ONCE)]
    cuts: dict[int, Pieces] = {}

    def cut(first: int, last: int) -> None:
        for k in range(first, last):
            cuts[k] = pieces.cut(blocks[k], flip, NONE.after)

    threads.share(len(blocks), cut, CUT * len(trains) * sum(bank.shape))
    call, nothing, works, cost = call_of(bank, strength), NONE.columns, [], 0.0
    for k in range(len(blocks)):
        dense, each = _plan(bank, cuts[k], 1)
        works.append((_dense if dense else _sparse)(call, cuts[k], nothing, np.empty((0, bank.shape[0]), np.float32)))
        cost += each

    def work(first: int, last: int) -> None:
        for apply in works:
            apply(1, first, last)

    threads.share(bank.shape[0], work, cost)


def apply_cut(bank: Bank, cut: Pieces, strength: float, columns: Columns, noted: Noted, repeat: int = 1) -> None:
    """Do what `apply_trains` does, with trains that are cut already.

    Parameters
    ----------
    noted : float32 ``[R, n_out]``, filled.
    """
    call, (dense, cost) = call_of(bank, strength), _plan(bank, cut, repeat)
    work = (_dense if dense else _sparse)(call, cut, columns, noted)
    at_once = max(1, int(repeat * LONGEST_CALL / max(cost, 1.0)))
    for start in range(0, repeat, at_once):
        threads.share(bank.shape[0], partial(work, min(at_once, repeat - start)), cost)


@dataclass
class _Call:
    """The kernels of a bank and what they take from it; its tensors live as long as their addresses are in use."""

    dense: Any
    sparse: Any
    bank: tuple[Any, ...]  # addresses of state and parameters, number of cells; measured table; n_in
    scalars: tuple[tuple[int, ...], tuple[float, ...]]  # keys; strength, noise of a pulse, write noise
    strength: float
    places: tuple[int, ...]  # the addresses: a tensor that was replaced is another one
    known: tuple[int, int] = (0, 0)  # where the kernels lie, as far as they are compiled

    def addresses(self) -> tuple[int, int]:
        """Return where the dense and the sparse kernel lie, 0 for one that is not compiled yet."""
        dense, sparse = self.known
        if not dense:
            dense = kernel_address(self.dense, DENSE)
        if not sparse:
            sparse = kernel_address(self.sparse, SPARSE)
        self.known = dense, sparse
        return self.known


def call_of(bank: Bank, strength: float) -> _Call:
    """Return what was worked out at the last call, or work it out."""
    kept = bank.kept
    places = (bank.hidden.data_ptr(), bank.pulses.data_ptr(), bank.read.data_ptr(), bank.rows_at)
    if isinstance(kept, _Call) and kept.strength == strength and kept.places == places:
        return kept
    assert bank.family is not None
    device, form = bank.device, form_of(bank.device)
    chip = *places, bank.rows.shape[1]
    additive = device.c2c_additive
    if form == ADDITIVE:  # what the root of a sum of one square is, which may differ in the last bit
        additive = float(np.sqrt(np.float32(additive) * np.float32(additive)))
    numbers = (strength, device.c2c, additive, device.write_noise * device.dw_min.mean)
    scalars = tuple(map(int, bank.keys)), tuple(map(float, numbers))
    kernels = dense_kernel(bank.family, form), sparse_kernel(bank.family, form)
    bank.kept = call = _Call(*kernels, (chip, addressed(bank.table), bank.shape[1]), scalars, strength, places)
    return call


def _dense(call: _Call, cut: Pieces, columns: Columns, noted: Noted) -> Work:
    words, fires, order, starts = pieces.tiles_of(cut, columns)

    def work(repeat: int, first: int, last: int) -> None:
        call.dense(first, last, *call.bank, cut.rows, words, fires, repeat, columns, order, starts, noted, call.scalars)

    return work


def _sparse(call: _Call, cut: Pieces, columns: Columns, noted: Noted) -> Work:
    slots = pieces.slots_of(cut)

    def work(repeat: int, first: int, last: int) -> None:
        call.sparse(first, last, *call.bank, cut.rows, *slots, repeat, columns, noted, call.scalars)

    return work


def _plan(bank: Bank, cut: Pieces, repeat: int) -> tuple[bool, float]:
    """Return whether the dense kernel is the faster one, and what the faster one costs in nanoseconds."""
    found: tuple[bool, float] = plan(*bank.shape, cut.entries, cut.coincidences, repeat)
    return found
