"""Slots in which each device sees volts of its own, which depend on all others: lines float, or have resistance."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.hardware.emulator import network, wires
from rpudriver.backends.hardware.emulator.rails import Fired, Rails, Switching, Volts64
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.pulses import Action
from rpudriver.backends.simulated.update import apply_trains
from rpudriver.types import PulseTrains

Bits = npt.NDArray[np.bool_]
State = tuple[torch.Tensor, ...]


@final
@dataclass(frozen=True)
class Coupled:
    """Applies such slots: one after the other, each to devices as the one before has left them.

    Parameters
    ----------
    switching : how strongly devices answer to volts.
    siemens : the conductances of a bank ``[R, C]``.
    ohms : resistance of a line between two neighbours.
    """

    switching: Switching
    siemens: Callable[[Bank], Volts64]
    ohms: float

    def concerns(self, rails: Rails) -> bool:
        """Tell whether slots of these rails are such; behind gates, what floats follows the rows that conduct."""
        return self.ohms > 0 or (rails.floating and not rails.gate)

    def apply(self, bank: Bank, slots: Fired) -> bool:
        """Have devices see slots; return whether the comparator has cut the lines off on the way.

        Single cross-points of perfect lines that float are applied all at once where no other device moves, neither
        with the conductances before them nor with those after: then it makes no difference.
        """
        rows, columns = slots.lines(*bank.shape)
        if slots.rails.floating:
            busy = rows.any(1) & columns.any(1)
            rows, columns = rows[busy], columns[busy]
        if len(rows) and not self._all_at_once(bank, slots, rows, columns):
            for row, column in zip(rows, columns, strict=True):
                if self._slot(bank, slots, row, column):
                    return True
        return False

    def _slot(self, bank: Bank, slots: Fired, rows: Bits, columns: Bits) -> bool:
        siemens, rails = self.siemens(bank), slots.rails
        if rails.gate:
            siemens = siemens * rows[:, None]  # only the rows that are active conduct
        volts = self._across(siemens, rails, rows, columns)
        currents = siemens * volts
        most = max(np.abs(currents.sum(0)).max(), np.abs(currents.sum(1)).max())
        if rails.compliance and most > rails.compliance:
            return True
        self._pulse(bank, volts, slots.width_ns)
        return False

    def _across(self, siemens: Volts64, rails: Rails, rows: Bits, columns: Bits) -> Volts64:
        row_rest, column_rest = (np.nan, np.nan) if rails.floating else (rails.row_rest, rails.column_rest)
        row_volts = np.where(rows, rails.row_active, row_rest)
        column_volts = np.where(columns, rails.column_active, column_rest)
        volts: Volts64
        if self.ohms:
            volts = wires.across(np.maximum(siemens, network.LEAK_S), row_volts, column_volts, 1 / self.ohms)
        else:
            volts = network.across(siemens, row_volts, column_volts)
        return volts * rows[:, None] if rails.gate else volts

    def _pulse(self, bank: Bank, volts: Volts64, width_ns: int) -> None:
        """Give each device a pulse of its own strength."""
        strengths = self.switching.strengths(volts, width_ns)
        for down, acting in ((False, volts > 0), (True, volts < 0)):
            acting &= strengths > 0
            if acting.any():
                apply_trains(_weighted(bank, strengths), _once(acting, down), 1, Action())
                bank.version += 1

    # ---- many at once -------------------------------------------------------------------------------------------

    def _all_at_once(self, bank: Bank, slots: Fired, rows: Bits, columns: Bits) -> bool:
        """Apply slots together, if that is the same; leave the bank as it was if not."""
        if self.ohms or (rows.sum(1) != 1).any() or (columns.sum(1) != 1).any():
            return False
        places = np.stack([rows.argmax(1), columns.argmax(1)], 1)
        different = np.unique(places, axis=0)
        if not self._others_rest(bank, slots, different):
            return False
        volts = slots.rails.row_active - slots.rails.column_active
        strength = self.switching.strength(volts, slots.width_ns)
        if strength:
            before = bank.hidden.clone(), bank.read.clone(), bank.pulses.clone()
            apply_trains(bank, _counted(places, bank.shape, volts < 0), 1, Action(strength))
            if not self._others_rest(bank, slots, different):
                _put_back(bank, before)
                return False
        return True

    def _others_rest(self, bank: Bank, slots: Fired, places: npt.NDArray[np.int64]) -> bool:
        """Tell whether cross-points, driven one at a time, move no other device and take no more than they may."""
        siemens, rails = self.siemens(bank), slots.rails
        volts = network.across_each(siemens, places, rails.row_active - rails.column_active)
        n, row, column = np.arange(len(places)), places[:, 0], places[:, 1]
        currents = (siemens[row] * volts[n, row]).sum(1)  # of the driven row, all of which leaves by the driven column
        if rails.compliance and np.abs(currents).max() > rails.compliance:
            return False
        volts[n, row, column] = 0.0
        return not self.switching.strengths(volts, slots.width_ns).any()


def _weighted(bank: Bank, strengths: Volts64) -> Bank:
    """Return a view of a bank, with the same state, whose devices answer each with a strength of its own."""
    factors = strengths.astype(np.float32).ravel()
    rows = bank.rows.copy()
    rows[:2] *= factors  # the steps up and down
    alive = bank.parameters["alive"] * torch.from_numpy(factors)
    return replace(bank, rows=rows, parameters={**bank.parameters, "alive": alive}, kept=None)


def _once(acting: Bits, down: bool) -> PulseTrains:
    """Return trains that give each of some devices one pulse: row i has slot i for itself."""
    rows = len(acting)
    return _trains(acting.T, np.eye(rows, dtype=np.bool_), down)


def _counted(places: npt.NDArray[np.int64], shape: tuple[int, int], down: bool) -> PulseTrains:
    """Return trains with a slot for each cross-point, in their order."""
    slots = np.arange(len(places))
    d, x = (np.zeros((lines, len(places)), np.bool_) for lines in shape)
    d[places[:, 0], slots] = x[places[:, 1], slots] = True
    return _trains(x, d, down)


def _trains(x: Bits, d: Bits, down: bool) -> PulseTrains:
    """Return one sample of slots ``[lines, S]``."""
    words = [_packed(side)[None] for side in (x, d)]
    negative = np.zeros((1, len(x)), np.bool_), np.full((1, len(d)), down)
    return PulseTrains.of_arrays(*words, *negative, np.array([x.shape[1]]))


def _packed(slots: Bits) -> npt.NDArray[np.uint32]:
    lines, count = slots.shape
    padded = np.zeros((lines, 32 * -(-count // 32)), np.bool_)
    padded[:, :count] = slots
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)


def _put_back(bank: Bank, state: State) -> None:
    for tensor, saved in zip((bank.hidden, bank.read, bank.pulses), state, strict=True):
        tensor.copy_(saved)
    bank.version += 1
