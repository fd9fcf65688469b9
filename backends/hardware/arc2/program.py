"""Operations translated for ArC TWO: each slot one pulse of all lines, each vector one bias and one measurement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from rpudriver.backends.hardware.arc2.calls import CLUSTER, Bias, Call, Delay, Fire, Program, Sense
from rpudriver.backends.hardware.arc2.guard import VOLTS_PER_CODE, rises
from rpudriver.backends.hardware.arc2.wiring import Wiring
from rpudriver.backends.hardware.driver import KindCodes, Settings
from rpudriver.backends.hardware.operations import (
    Operation,
    PulseOperation,
    ReadOperation,
    Rectangle,
    Sample,
    WaitOperation,
    record,
)
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import BoardError, ConfigError, LinkLostError

# What the library adds of its own, nanoseconds; for the time that a batch may take.
FIRE_NS, SENSE_NS = 40_000, 300_000
PHASES = ((False, False), (True, True), (False, True), (True, False))  # (x negative, d negative), as in the protocol

Bits = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True)
class Translator:
    """Translates batches for one chip under the settings that it was armed with.

    Parameters
    ----------
    profile : of a chip with a table ``[arc2]``.
    """

    profile: ChipProfile
    settings: Settings

    def program(self, operations: Sequence[Operation]) -> Program:
        """Return the calls of a batch.

        Raises
        ------
        BoardError
            If it goes beyond what was armed; nothing was sent.
        """
        return tuple(call for operation in operations for call in self._calls(operation))

    def records(self, operations: Sequence[Operation], currents: Sequence[Sequence[float]]) -> bytes:
        """Return the records of a batch from what its `Sense` calls measured, in amperes, channel by channel."""
        left, parts = iter(currents), []
        for operation in operations:
            codes = self._codes(operation, left) if isinstance(operation, ReadOperation) else None
            parts.append(record(codes))
        return b"".join(parts)

    def _calls(self, operation: Operation) -> Iterator[Call]:
        match operation:
            case PulseOperation():
                yield from self._pulse(operation)
            case ReadOperation():
                yield from self._read(operation)
            case WaitOperation():
                yield Delay(1000 * operation.us)

    # ---- pulses -------------------------------------------------------------------------------------------------

    def _pulse(self, operation: PulseOperation) -> Iterator[Call]:
        self._check_place(operation.where)
        if operation.kind >= len(self.settings.kinds):
            raise BoardError(f"pulse kind {operation.kind} is not among the {len(self.settings.kinds)} that are armed")
        kind = self.settings.kinds[operation.kind]
        longest = max((sample.bl for sample in operation.samples), default=0)
        if longest > self.settings.max_bl:
            raise BoardError(f"a bit length of {longest} is beyond the {self.settings.max_bl} that are armed")
        once = [call for sample in operation.samples for call in self._slots(operation, sample, kind)]
        for _ in range(operation.repeat):
            yield from once  # the same objects: a batch of many repeats stays small

    def _slots(self, operation: PulseOperation, sample: Sample, kind: KindCodes) -> Iterator[Call]:
        """Yield the pulses of a sample; a slot in which no device is selected would disturb some for nothing."""
        where = operation.where
        for x_negative, d_negative in PHASES:
            x = sample.x & (sample.x_negative == x_negative)[:, None]
            d = sample.d & (sample.d_negative == d_negative)[:, None]
            down = x_negative ^ d_negative ^ operation.flip
            for slot in np.flatnonzero(x.any(0) & d.any(0)):
                if not kind.ways & (2 if down else 1):
                    raise BoardError(f"pulse kind {operation.kind} is not armed {'downwards' if down else 'upwards'}")
                yield self._fire(where, d[:, slot], x[:, slot], kind.down if down else kind.up, kind.width_ns)
                yield Delay(kind.width_ns + kind.gap_ns)  # the library does not wait for the end of a pulse

    def _fire(self, where: Rectangle, rows: Bits, columns: Bits, rails: Sequence[int], width_ns: int) -> Fire:
        """Return a slot with the volts of all lines: a channel that is not named would float."""
        wiring, volts = self._wiring, self.profile.converters.volts_per_rail_code
        row_active, row_rest, column_active, column_rest = (volts * rail for rail in rails)
        active = frozenset(wiring.rows[where.row + i] for i in np.flatnonzero(rows))
        active |= frozenset(wiring.columns[where.column + i] for i in np.flatnonzero(columns))
        levels = [(c, row_active if c in active else row_rest) for c in wiring.rows]
        levels += [(c, column_active if c in active else column_rest) for c in wiring.columns]
        return Fire(_one_polarity(levels), width_ns, active)

    # ---- reads --------------------------------------------------------------------------------------------------

    def _read(self, operation: ReadOperation) -> Iterator[Call]:
        largest = int(np.abs(operation.codes.astype(np.int64)).max(initial=0))
        if largest > self.settings.max_input:
            raise BoardError(f"an input code of {largest} is beyond the {self.settings.max_input} that are armed")
        rectangles = [operation.where] + ([operation.second] if operation.second else [])
        for where in rectangles:
            self._check_place(where)
        for codes in operation.codes:
            for where in rectangles:
                inputs, outputs = self._lines(where, operation.transposed)
                # The instrument measures what flows out of a channel at 0 V: a line below 0 V makes it positive.
                volts = dict(zip(inputs, (-self._volts(codes)).tolist(), strict=True))
                yield Bias(tuple((c, volts.get(c, 0.0)) for c in self._wiring.rows + self._wiring.columns))
                yield Sense(outputs)

    def _codes(self, operation: ReadOperation, left: Iterator[Sequence[float]]) -> npt.NDArray[np.int16]:
        """Return the output codes of a read, int16 ``[vectors, outputs]``, clipped to the ends of the converter."""
        wiring, converters, top = self._wiring, self.profile.converters, self.profile.output_codes
        full = converters.amperes_full_scale * (1 + operation.range)
        amperes = np.empty((len(operation.codes), operation.outputs))
        for vector, codes in enumerate(operation.codes):
            amperes[vector] = self._picked(next(left), operation.where, operation.transposed)
            if operation.second is None:
                amperes[vector] -= wiring.siemens_at_zero * self._volts(codes).sum()
            else:
                amperes[vector] -= self._picked(next(left), operation.second, operation.transposed)
        return np.clip(np.rint(amperes / full * top), -top, top).astype(np.int16)

    def _picked(self, currents: Sequence[float], where: Rectangle, transposed: bool) -> Floats:
        found: Floats = np.asarray(currents, np.float64)[list(self._lines(where, transposed)[1])]
        if not np.isfinite(found).all():
            raise LinkLostError("ArC TWO returned no number for a channel it was to measure; connect again")
        return found

    def _volts(self, codes: npt.NDArray[np.int16]) -> Floats:
        return codes.astype(np.float64) * self.profile.converters.volts_per_input_code

    def _lines(self, where: Rectangle, transposed: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the channels of inputs and of outputs."""
        rows = self._wiring.rows[where.row : where.row + where.rows]
        columns = self._wiring.columns[where.column : where.column + where.columns]
        return (rows, columns) if transposed else (columns, rows)

    @property
    def _wiring(self) -> Wiring:
        if self.profile.arc2 is None:
            raise ConfigError(f"chip {self.profile.chip!r} has no table [arc2]")
        return self.profile.arc2

    def _check_place(self, where: Rectangle) -> None:
        rows, columns = where.row + where.rows, where.column + where.columns
        if where.array != 0 or rows > self.profile.rows or columns > self.profile.columns:
            raise BoardError(
                f"array {where.array}, rows up to {rows}, columns up to {columns}: this chip has array 0 of "
                f"{self.profile.rows} x {self.profile.columns}"
            )


def duration_s(program: Program) -> float:
    """Return about how long ArC TWO takes for a program."""
    nanos = 0
    for call in program:
        match call:
            case Fire():
                nanos += call.nanos + FIRE_NS
            case Delay():
                nanos += call.nanos
            case Sense():
                nanos += SENSE_NS
            case Bias():
                nanos += FIRE_NS
    return nanos * 1e-9


def _one_polarity(levels: list[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """Let lines that rest among rising ones rise by one code of the converter: 0 V counts as falling."""
    rising = {channel // CLUSTER for channel, volts in levels if rises(volts)}
    return tuple((c, VOLTS_PER_CODE if v == 0 and c // CLUSTER in rising else v) for c, v in levels)
