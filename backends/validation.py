"""Checks that every step must pass before anything is sent: shape, range, limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.counting import Tally, check_places, largest_size, tally
from rpudriver.backends.numbering import is_plain
from rpudriver.backends.updates import NOWHERE, Bounds, Places, Update
from rpudriver.config.model import did_you_mean
from rpudriver.errors import LimitError, StepError, UnsupportedError
from rpudriver.types import Array, Cell, Port, Pulse, Read, Scan, Step, Wait

UNLIMITED = 2**62  # pulses on one device
INT64 = np.dtype(np.int64)
FLOAT32_SLACK = 1 + 2.0**-23  # a bound like 0.3 is a little larger as a float32 than as a float


@final
@dataclass(frozen=True)
class Limits:
    """What may be sent once armed. ``None`` leaves a bound to the chip's capabilities.

    Attributes
    ----------
    kinds : names of the pulse kinds that may be sent.
    max_bl : longest bit length.
    max_input : largest absolute input of a read, in (0, input_bound].
    max_device_pulses : largest number of pulses that one step may put on a single device (BL times repeat, summed
        over the samples).
    """

    kinds: frozenset[str] | None = None
    max_bl: int | None = None
    max_input: float | None = None
    max_device_pulses: int | None = None

    def within(self, capabilities: Capabilities) -> tuple[int, float]:
        """Return the longest bit length and the largest input that these limits and the chip allow."""
        longest, bound = capabilities.longest_bl, capabilities.input_bound
        return min(longest, self.max_bl or longest), min(bound, self.max_input or bound)


def check_limits(limits: Limits, capabilities: Capabilities) -> None:
    """Raise `LimitError` where limits go beyond what the chip can do."""
    for kind in sorted(limits.kinds or ()):
        if kind not in capabilities.kinds:
            raise LimitError(f"limits name the pulse kind {kind!r}" + did_you_mean(kind, capabilities.kinds))
    bounds = (
        ("max_bl", limits.max_bl, capabilities.longest_bl),
        ("max_input", limits.max_input, capabilities.input_bound),
        ("max_device_pulses", limits.max_device_pulses, math.inf),
    )
    for name, value, most in bounds:
        if value is not None and not 0 < value <= most:
            raise LimitError(f"limits.{name} = {value!r} must lie in (0, {most}]")


@final
class Validator:
    """Checks steps against a chip's capabilities, its arrays and the armed limits; changes nothing."""

    def __init__(self, capabilities: Capabilities, arrays: dict[str, Array], limits: Limits) -> None:
        self._capabilities, self._arrays, self._limits = capabilities, arrays, limits
        self._longest, self._largest = limits.within(capabilities)
        self.bounds = self._update_bounds()

    def check(self, position: int, step: Step) -> Tally | None:
        """Raise `StepError`, `LimitError` or `UnsupportedError`, naming the step by its position.

        Returns
        -------
        Tally of the step's trains where it has some, for the meter.
        """
        where = f"step {position}"
        match step:
            case Pulse():
                return self._pulse(where, step)
            case Scan():
                return self._scan(where, step)
            case Read():
                self.check_read(where, step)
            case Wait():
                if not (math.isfinite(step.seconds) and step.seconds >= 0):
                    raise StepError(f"{where}: Wait({step.seconds}) must be a finite time of at least 0 s")
            case _:
                raise StepError(f"{where}: {type(step).__name__} is not a step; use Pulse, Read, Scan or Wait")
        return None

    def _update_bounds(self) -> Bounds | None:
        """Return what trains of kind ``update`` must keep within, None where it is not armed."""
        armed, kinds, polarity = self._limits, self._limits.kinds, self._capabilities.kinds["update"].polarity
        if kinds is not None and "update" not in kinds:
            return None
        budget = UNLIMITED if armed.max_device_pulses is None else armed.max_device_pulses
        return Bounds(self._longest, budget, polarity != "down", polarity != "up")

    def fits(self, update: Update) -> bool:
        """Return whether nothing is wrong with an update but, perhaps, its trains; what is wrong, its step tells."""
        array, x, d, drawing, _, _, reads, amplitude = update
        if self._arrays.get(array.name) is not array or not 0 < amplitude <= self._largest:
            return False
        if x.ndim != 2 or d.ndim != 2 or not (drawing.lr >= 0 and drawing.dw_min > 0 and drawing.max_bl >= 1):
            return False
        (samples, n_in), (others, n_out) = x.shape, d.shape
        if samples != others or n_in != array.n_in or n_out != array.n_out:
            return False
        return reads is NOWHERE or (_are_places(reads) and all(check_places(*reads, n_in, samples)))

    def fits_read(self, terms: Sequence[tuple[Array, float]], x: torch.Tensor, transposed: bool) -> bool:
        """Return whether nothing is wrong with a read but, perhaps, the size of its inputs; its step tells what is."""
        if not terms or (transposed and not self._capabilities.transposed_reads):
            return False
        first = terms[0][0]
        n_out, n_in, known = first.n_out, first.n_in, self._arrays
        for array, weight in terms:
            if known.get(array.name) is not array or array.n_out != n_out or array.n_in != n_in:
                return False
            if not math.isfinite(weight):
                return False
        return x.ndim == 2 and x.shape[1] == (n_out if transposed else n_in) and x.dtype is torch.float32

    def fit_together(
        self, jobs: Sequence[tuple[Sequence[tuple[Array, float]], torch.Tensor]], transposed: bool
    ) -> bool:
        """Return whether reads can be sent whole and at once; each of ``(terms, x)`` as for `fits_read`."""
        for terms, x in jobs:
            if not self.fits_read(terms, x, transposed) or not (self._capabilities.summed_reads or is_plain(terms)):
                return False
        if len(jobs) == 1 and len(jobs[0][0]) == 1:
            return True
        names = [array.name for terms, _ in jobs for array, _ in terms]
        return len(jobs) < 2 or len(set(names)) == len(names)  # else numbers of vectors depend on those before

    def _known(self, where: str, array: Array) -> None:
        known = self._arrays.get(array.name)
        if known is not array and known != array:
            raise StepError(
                f"{where}: array {array.name!r} {array.shape} is not allocated on this chip"
                + did_you_mean(array.name, self._arrays)
            )

    def _pulse(self, where: str, step: Pulse) -> Tally:
        array = step.array
        self._known(where, array)
        if not isinstance(step.port, Port):
            raise StepError(f"{where}: port = {step.port!r} must be Port.DEVICE or Port.REFERENCE")
        if step.port is Port.REFERENCE and array.cell is Cell.SINGLE:
            raise StepError(f"{where}: array {array.name!r} has single devices, no reference; allocate other cells")
        if not isinstance(step.repeat, int) or step.repeat < 1:
            raise StepError(f"{where}: repeat = {step.repeat!r} must be a whole number of at least 1")
        return self._trains(where, step, step.repeat)

    def _trains(self, where: str, step: Pulse | Scan, repeat: int) -> Tally:
        trains, array = step.trains, step.array
        x_words, d_words, *_ = trains.arrays
        sides = d_words.shape[1], x_words.shape[1]
        if sides != array.shape:
            raise StepError(
                f"{where}: trains for {sides[0]} x {sides[1]} lines do not fit array {array.name!r} of {array.shape}"
            )
        found = tally(trains)
        self._kind(where, step.kind, found)
        if found.longest > self._longest:
            raise LimitError(
                f"{where}: BL = {found.longest} is beyond this chip's limit of {self._longest}; draw shorter trains"
            )
        if found.late >= 0:
            raise StepError(
                f"{where}: trains of sample {found.late} fire beyond its BL of {int(trains.bl[found.late])}; "
                "clear those bits"
            )
        budget, worst = self._limits.max_device_pulses, found.total * repeat
        if budget is not None and worst > budget:
            raise LimitError(
                f"{where}: up to {worst} pulses on one device, {budget} are armed; split the step or arm more"
            )
        return found

    def _scan(self, where: str, step: Scan) -> Tally:
        self._known(where, step.array)
        for name, values in (("columns", step.columns), ("after", step.after)):
            if values.dtype is not torch.int64 or values.ndim != 1 or not values.is_cpu:
                raise StepError(
                    f"{where}: {name} must be int64 [R] on the CPU; "
                    f"got {values.dtype} {list(values.shape)} on {values.device}"
                )
        if step.columns.shape != step.after.shape:
            raise StepError(
                f"{where}: {len(step.columns)} columns and {len(step.after)} places; give one of each for a vector"
            )
        n_in, samples = step.array.n_in, len(step.trains)
        good_columns, good_after = check_places(*step.places, n_in, samples)
        if not good_columns:
            raise StepError(f"{where}: columns must lie in [0, {n_in - 1}]; got {step.columns.tolist()}")
        if not good_after:
            raise StepError(
                f"{where}: after must not fall and lie in [0, {samples}], the number of samples; "
                f"got {step.after.tolist()}"
            )
        self._amplitude(where, step.amplitude)
        return self._trains(where, step, 1)

    def _amplitude(self, where: str, amplitude: float) -> None:
        bound, armed = self._capabilities.input_bound, self._limits.max_input
        if not 0 < amplitude <= bound:  # also refuses NaN
            raise StepError(f"{where}: amplitude = {amplitude!r} must lie in (0, {bound:g}], the chip's input range")
        if armed is not None and amplitude > armed:
            raise LimitError(f"{where}: amplitude = {amplitude:g}, {armed:g} is armed; lower it or arm a larger limit")

    def _kind(self, where: str, name: str, found: Tally) -> None:
        kind = self._capabilities.kinds.get(name)
        if kind is None:
            raise StepError(f"{where}: unknown pulse kind {name!r}" + did_you_mean(name, self._capabilities.kinds))
        if self._limits.kinds is not None and name not in self._limits.kinds:
            raise LimitError(f"{where}: pulse kind {name!r} is not armed; armed: {sorted(self._limits.kinds)}")
        if (kind.polarity == "up" and found.down) or (kind.polarity == "down" and found.up):
            raise StepError(f"{where}: kind {name!r} only goes {kind.polarity}; some signs ask for the other way")

    def check_read(self, where: str, step: Read) -> None:
        """Do what `check` does, for a `Read`; `where` names the step."""
        if not step.terms:
            raise StepError(f"{where}: a Read needs at least one (array, weight)")
        first = step.terms[0][0]
        for array, weight in step.terms:
            self._known(where, array)
            if not math.isfinite(weight):
                raise StepError(f"{where}: weight {weight} of array {array.name!r} must be finite")
            if array is not first and array.shape != first.shape:
                raise StepError(f"{where}: a sum needs one shape; {array.name!r} is {array.shape}, not {first.shape}")
        if step.transposed and not self._capabilities.transposed_reads:
            raise UnsupportedError(f"{where}: this chip has no transposed reads, which back-propagation needs")
        lines = first.n_out if step.transposed else first.n_in
        x = step.x
        if x.ndim != 2 or x.shape[1] != lines or x.dtype is not torch.float32:
            raise StepError(
                f"{where}: x must be float32 [B, {lines}] for array {first.name!r}; got {x.dtype} {list(x.shape)}"
            )
        bound, armed = self._capabilities.input_bound, self._limits.max_input
        worst = largest_size(x)
        if not worst <= bound * FLOAT32_SLACK:  # also refuses NaN
            raise StepError(
                f"{where}: inputs must be finite and within [-{bound:g}, {bound:g}]; the largest is {worst:g}. "
                "Scale x down, or let noise management do it"
            )
        if armed is not None and worst > armed * FLOAT32_SLACK:
            raise LimitError(f"{where}: an input of {worst:g}, {armed:g} is armed; scale x down or arm a larger limit")


def _are_places(reads: Places) -> bool:
    """Return whether compiled code takes the arrays as they are."""
    columns, after = reads
    good = columns.dtype == after.dtype == INT64 and columns.ndim == 1 and columns.shape == after.shape
    return good and columns.flags.carray and after.flags.carray  # contiguous, aligned and writeable
