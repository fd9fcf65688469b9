"""The emulated chip: what lines at some volts do to devices, and what currents come out. See ``docs/emulator.md``.

Pulses are collected and applied when somebody looks, as one batch for the simulator's kernels; noise is drawn by each
device's own count of pulses, so this changes nothing.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.simulated.bank import Bank, new_bank
from rpudriver.backends.simulated.devices.spec import Preset
from rpudriver.backends.simulated.pulses import Action
from rpudriver.backends.simulated.update import apply_trains
from rpudriver.errors import ConfigError
from rpudriver.keyed import native
from rpudriver.types import PulseTrains

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.uint8]


class Rails(NamedTuple):
    """Volts of the rails and of the gates, and the current at which the comparator cuts the output."""

    row_active: float = 0.0
    row_rest: float = 0.0
    column_active: float = 0.0
    column_rest: float = 0.0
    gate: float = 0.0
    compliance: float = 0.0


class Volts(NamedTuple):
    """Across a device whose row and column are active, only the row, only the column, neither."""

    selected: float
    row_only: float
    column_only: float
    neither: float

    @classmethod
    def of(cls, rails: Rails) -> "Volts":
        """Return what devices see; with gates, only the rows that are active conduct."""
        row, row_rest, column, column_rest = rails[:4]
        if rails.gate:
            return cls(row - column, row - column_rest, 0.0, 0.0)
        return cls(row - column, row - column_rest, row_rest - column, row_rest - column_rest)


class Fired(NamedTuple):
    """Slots with the same rails: masks of rows and columns ``[count, bytes]``."""

    rails: Rails
    width_ns: int
    rows: Masks
    columns: Masks


@dataclass(frozen=True)
class Switching:
    """How strongly a pulse acts by its volts and width: nothing below a threshold, in proportion to what is beyond it.

    ``strength = width / width_0 * (|v| - v_th) / (|v_0| - v_th)``, with an update pulse of the profile as 1. The
    threshold is what makes ``set`` as strong as the profile says, or `DEFAULT` of the update's volts without one.
    """

    width_ns: float
    up: tuple[float, float]  # volts of an update pulse and threshold
    down: tuple[float, float]
    disturb: float  # strength of a pulse below the threshold

    DEFAULT = 0.75

    @classmethod
    def of(cls, profile: ChipProfile, disturb: float) -> "Switching":
        """Return the law that belongs to a chip profile."""
        update = profile.kinds["update"]

        def threshold(volts: float, stronger: str, other: float) -> float:
            kind = profile.kinds.get(stronger)
            if kind is None or abs(other) <= volts:
                return cls.DEFAULT * volts
            ratio = kind.strength * update.width_s / kind.width_s
            found = (ratio * volts - abs(other)) / (ratio - 1) if ratio > 1 else 0.0
            return found if 0 < found < volts else cls.DEFAULT * volts

        sets, resets = profile.kinds.get("set"), profile.kinds.get("reset")
        up, down = update.volts_up, -update.volts_down
        return cls(
            update.width_s * 1e9,
            (up, threshold(up, "set", 0.0 if sets is None else sets.volts_up)),
            (down, threshold(down, "reset", 0.0 if resets is None else resets.volts_down)),
            disturb,
        )

    def strength(self, volts: float, width_ns: float) -> float:
        """Return the strength of a pulse in update pulses, never negative."""
        if not volts:
            return 0.0
        nominal, threshold = self.up if volts > 0 else self.down
        beyond = (abs(volts) - threshold) / (nominal - threshold)
        strength = width_ns / self.width_ns * (beyond if beyond > 0 else self.disturb)
        return 1.0 if abs(strength - 1) < 1e-5 else strength  # codes of converters are not exact volts


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
    line_ohms : resistance of a line between two neighbours; reads see it in series with a device.
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
            self._waiting.setdefault(array, []).append(Fired(self._rails.get(array, Rails()), width_ns, rows, columns))

    def tripped(self) -> bool:
        """Return whether the comparator has tripped since this was last asked."""
        self.settle()
        tripped, self._tripped = self._tripped, False
        return tripped

    def settle(self) -> None:
        """Have the devices see what was fired."""
        waiting, self._waiting = self._waiting, {}
        for array, fired in waiting.items():
            bank, start = self.banks[array], 0
            for n, slots in enumerate(fired):
                if self._tripped:
                    return
                allowed = self._until_trip(bank, slots)
                if allowed is not None:  # the rest reaches no device
                    cut = slots._replace(rows=slots.rows[:allowed], columns=slots.columns[:allowed])
                    self._apply(bank, [*fired[start:n], cut])
                    self._tripped, start = True, len(fired)
                elif n + 1 == len(fired) or _law(fired[n + 1]) != _law(slots):
                    self._apply(bank, fired[start : n + 1])
                    start = n + 1

    def _until_trip(self, bank: Bank, slots: Fired) -> int | None:
        """Return how many slots pass before the current of a line is too large, None if all do."""
        if not slots.rails.compliance:
            return None
        siemens, volts = self._siemens(bank), Volts.of(slots.rails)
        worst = max(abs(v) for v in volts)
        if max(siemens.sum(0).max(), siemens.sum(1).max()) * worst <= slots.rails.compliance:
            return None
        rows = np.unpackbits(slots.rows, axis=1, bitorder="little")[:, : siemens.shape[0]].astype(np.float32)
        columns = np.unpackbits(slots.columns, axis=1, bitorder="little")[:, : siemens.shape[1]].astype(np.float32)
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


def _law(slots: Fired) -> tuple[Rails, int]:
    return slots.rails, slots.width_ns
