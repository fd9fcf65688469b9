"""The emulated chip: what lines at some volts do to devices, and what currents come out. See ``docs/emulator.md``.

Pulses are collected and applied when somebody looks, as one batch for the simulator's kernels; noise is drawn by each
device's own count of pulses, so this changes nothing. No more than `MOST_WAITING` groups of slots wait, or a read would
have to make up for thousands of messages and its answer come seconds late.
"""

from dataclasses import dataclass, field
from itertools import groupby
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.hardware.emulator.coupled import Coupled
from rpudriver.backends.hardware.emulator.rails import Fired, Floats, Masks, Rails, Switching, Volts
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.simulated.bank import Bank, new_bank
from rpudriver.backends.simulated.devices.spec import Preset
from rpudriver.backends.simulated.pulses import Action
from rpudriver.backends.simulated.update import apply_trains
from rpudriver.errors import ConfigError
from rpudriver.keyed import native
from rpudriver.types import PulseTrains

MOST_WAITING = 64


@native.compiled
def _words(masks, complement, first, counts, lines, out):  # type: ignore[no-untyped-def]
    """Turn masks ``[slots, bytes]`` of groups of slots into words ``[groups, lines, W]``."""
    at = first
    for group in range(len(counts)):
        for slot in range(counts[group]):
            for line in range(lines):
                on = (masks[at, line >> 3] >> (line & 7)) & 1
                if on != complement:
                    out[group, line, slot >> 5] |= np.uint32(1) << np.uint32(slot & 31)
            at += 1


@final
@dataclass
class EmulatedChip:
    """Physical arrays of devices.

    Parameters
    ----------
    profile : sizes, units, and what an update pulse is.
    preset : the devices and the read noise, as of a simulated chip.
    seed : devices and noise follow from it; array n is named ``array-n``.
    disturb : strength of a pulse below the threshold, on half-selected devices for example.
    line_ohms : resistance of a line between two neighbours; pulses see the whole network, reads what is in series with
        a device.
    middle_siemens : conductance of a device at weight 0; the sense amplifier takes it off.
    """

    profile: ChipProfile
    preset: Preset
    seed: int = 0
    disturb: float = 0.0
    line_ohms: float = 0.0
    middle_siemens: float = 50e-6

    banks: list[Bank] = field(init=False, repr=False)
    _waiting: dict[int, list[Fired]] = field(init=False, repr=False, default_factory=dict)
    _rails: dict[int, Rails] = field(init=False, repr=False, default_factory=dict)
    _tripped: bool = field(init=False, default=False)
    _vectors: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        shape = self.profile.rows, self.profile.columns
        self._switching = Switching.of(self.profile, self.disturb)
        self._coupled = Coupled(self._switching, lambda bank: self._siemens(bank).astype(np.float64), self.line_ohms)
        self.banks = [
            new_bank(self.preset.device, self.seed, f"array-{n}/device", shape) for n in range(self.profile.arrays)
        ]
        lowest = self.middle_siemens + self.profile.siemens_per_unit * self.profile.device.w_min
        if not 0 <= self.disturb < 1 or self.line_ohms < 0:
            raise ConfigError(
                f"disturb = {self.disturb} must lie in [0, 1), line_ohms = {self.line_ohms} be at least 0"
            )
        if lowest <= 0:
            raise ConfigError(f"middle_siemens = {self.middle_siemens} leaves a device with {lowest:g} S; raise it")

    # ---- pulses -------------------------------------------------------------------------------------------------

    def set_rails(self, array: int, rails: Rails) -> None:
        """Set the rails of an array; no line is on them until it is fired."""
        self._rails[array] = rails

    def fire(self, array: int, width_ns: int, rows: Masks, columns: Masks) -> None:
        """Put lines on the active rails for the width, slot after slot: masks ``[count, bytes]``, lowest bit first."""
        if not self._tripped:
            waiting = self._waiting.setdefault(array, [])
            waiting.append(Fired(self._rails.get(array, Rails()), width_ns, rows, columns))
            if len(waiting) >= MOST_WAITING:
                self.settle()

    def tripped(self) -> bool:
        """Return whether the comparator has tripped since this was last asked."""
        self.settle()
        tripped, self._tripped = self._tripped, False
        return tripped

    def settle(self) -> None:
        """Have the devices see what was fired; where the comparator trips, the rest reaches no device."""
        waiting, self._waiting = self._waiting, {}
        for array, fired in waiting.items():
            bank = self.banks[array]
            for (rails, _), group in groupby(fired, lambda slots: slots.law):
                settle = self._settle_coupled if self._coupled.concerns(rails) else self._settle_plain
                if settle(bank, list(group)):
                    self._tripped = True
                    return

    def _settle_coupled(self, bank: Bank, fired: list[Fired]) -> bool:
        return any(self._coupled.apply(bank, slots) for slots in fired)

    def _settle_plain(self, bank: Bank, fired: list[Fired]) -> bool:
        """Apply slots of one law together: what a device sees does not depend on other devices."""
        for n, slots in enumerate(fired):
            allowed = self._until_trip(bank, slots)
            if allowed is not None:
                self._apply(bank, [*fired[:n], slots.first(allowed)])
                return True
        self._apply(bank, fired)
        return False

    def _until_trip(self, bank: Bank, slots: Fired) -> int | None:
        """Return how many slots pass before the current of a line is too large, None if all do."""
        if not slots.rails.compliance:
            return None
        siemens, volts = self._siemens(bank), Volts.of(slots.rails)
        worst = max(abs(v) for v in volts)
        if max(siemens.sum(0).max(), siemens.sum(1).max()) * worst <= slots.rails.compliance:
            return None
        rows, columns = (on.astype(np.float32) for on in slots.lines(*siemens.shape))
        for n in range(len(rows)):
            on = rows[n][:, None] * columns[n][None]
            across = volts.selected * on + volts.row_only * (rows[n][:, None] - on)
            across += volts.column_only * (columns[n][None] - on)
            currents = siemens * across
            if max(abs(currents.sum(0)).max(), abs(currents.sum(1)).max()) > slots.rails.compliance:
                return n
        return None

    def _apply(self, bank: Bank, fired: list[Fired]) -> None:
        """Apply groups of slots of the same rails and width, one sample each."""
        fired = [slots for slots in fired if len(slots.rows)]
        if not fired:
            return
        volts, width = Volts.of(fired[0].rails), fired[0].width_ns
        counts = np.array([len(slots.rows) for slots in fired])
        rows = np.concatenate([slots.rows for slots in fired])
        columns = np.concatenate([slots.columns for slots in fired])
        for v, no_row, no_column in zip(volts, (False, False, True, True), (False, True, False, True), strict=True):
            strength = self._switching.strength(v, width)
            if strength:
                trains = self._trains(counts, rows, columns, no_row, no_column, v < 0)
                apply_trains(bank, trains, 1, Action(strength))

    def _trains(
        self, counts: npt.NDArray[np.int64], rows: Masks, columns: Masks, no_row: bool, no_column: bool, down: bool
    ) -> PulseTrains:
        """Return trains for the devices whose row and column are active, or are not."""
        words = -(-int(counts.max()) // 32)
        x = np.zeros((len(counts), self.profile.columns, words), np.uint32)
        d = np.zeros((len(counts), self.profile.rows, words), np.uint32)
        _words(columns, int(no_column), 0, counts, self.profile.columns, x)
        _words(rows, int(no_row), 0, counts, self.profile.rows, d)
        return PulseTrains.of_arrays(x, d, np.zeros(x.shape[:2], bool), np.full(d.shape[:2], down), counts)

    # ---- reads --------------------------------------------------------------------------------------------------

    def sense(
        self, array: int, second: int | None, parts: tuple[slice, slice, slice, slice], volts: Floats, transposed: bool
    ) -> Floats:
        """Return amperes ``[vectors, outputs]`` for volts ``[vectors, inputs]``, less what devices at weight 0 give.

        Parameters
        ----------
        parts : rows and columns of the rectangle, and of the second one, whose current is subtracted.
        """
        self.settle()
        siemens = self._seen(array)[parts[0], parts[1]]
        if second is not None:
            siemens = siemens - self._seen(second)[parts[2], parts[3]]
        amperes = volts @ (siemens if transposed else siemens.T)
        noise = self.preset.read.output_noise * self.profile.siemens_per_unit * self.profile.read_volts
        if noise:
            drawn = native.gaussian_grid(self.seed, "chip/sense", self._vectors, *amperes.shape)
            amperes = amperes + np.float32(noise) * drawn
        self._vectors += len(volts)
        return np.ascontiguousarray(amperes, np.float32)

    def _siemens(self, bank: Bank) -> Floats:
        weights: Floats = bank.weights.numpy()
        siemens: Floats = np.float32(self.middle_siemens) + np.float32(self.profile.siemens_per_unit) * weights
        return siemens.clip(0)  # where the lower bound of a device lies far out

    def _seen(self, array: int) -> Floats:
        """Return conductances above the middle as the sense amplifiers see them, ``[rows, columns]``.

        Line resistance: the wire from the converter to a device and from there to the amplifier is in series with
        it; what neighbours take from the same wire is left out, which is right for small currents.
        """
        bank = self.banks[array]
        if not self.line_ohms:
            return np.float32(self.profile.siemens_per_unit) * bank.weights.numpy()
        rows, columns = np.ogrid[: self.profile.rows, : self.profile.columns]
        wire = self.line_ohms * (rows + columns + 2)
        siemens = self._siemens(bank).astype(np.float64)
        return (siemens / (1 + siemens * wire) - self.middle_siemens).astype(np.float32)

    def siemens(self, array: int) -> Floats:
        """Return conductances ``[rows, columns]`` as they are seen from the ends of the lines."""
        self.settle()
        seen: Floats = self._seen(array) + np.float32(self.middle_siemens)
        return seen.clip(0)

    def acts(self, volts: float, width_ns: float) -> bool:
        """Tell whether a pulse of these volts does anything to a device."""
        return self._switching.strength(volts, width_ns) > 0

    # ---- for tests ----------------------------------------------------------------------------------------------

    def weights(self, array: int) -> Floats:
        """Return the true weights ``[rows, columns]``."""
        self.settle()
        return self.banks[array].weights.numpy().copy()

    def set_weights(self, array: int, weights: Floats) -> None:
        """Put devices where a test wants them, within their bounds."""
        bank = self.banks[array]
        p = bank.parameters
        wanted = torch.from_numpy(np.array(weights, np.float32)).flatten()
        clipped = torch.minimum(torch.maximum(wanted, p["w_min"]), p["w_max"])
        bank.set_state(clipped, clipped)
