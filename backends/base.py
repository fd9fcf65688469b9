"""The abstract crossbar: what algorithms and calibration scripts see of any chip, simulated or real.

A backend is one hook, `_execute`, plus four small ones; everything a caller can get wrong is checked here, before the
hook is reached. The order of a call is always the same: validate *all* steps, number them, execute, meter.

Numbers make every random draw reproducible: each array counts the pulse-train samples and the vectors that it has
seen, so a draw depends neither on how samples are grouped into steps nor on what other arrays do in between.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, final

import torch

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.closing import Closing
from rpudriver.backends.counting import Tally
from rpudriver.backends.meter import CostMeter
from rpudriver.backends.normalising import Normalised
from rpudriver.backends.numbering import (
    Counters,
    Numbered,
    advance,
    expand,
    is_plain,
    join_all,
    number,
    number_read,
    split,
)
from rpudriver.backends.placement import Diagonals, check_same
from rpudriver.backends.snapshots import VERSION, check_snapshot, check_state, entry
from rpudriver.backends.status import ChipState, Status
from rpudriver.backends.updates import Bounds, Done, Update
from rpudriver.backends.validation import Limits, Validator, check_limits
from rpudriver.backends.writing import write_and_verify
from rpudriver.config.model import did_you_mean
from rpudriver.errors import BackendError, ConfigError, StepError
from rpudriver.types import Array, Cell, Port, Pulse, PulseTrains, Read, ReadResult, Scan, Step, Steps

__all__ = ["CrossbarBackend", "Numbered", "Status"]

ReadJob = tuple[Sequence[tuple[Array, float]], torch.Tensor]  # terms and x of a `Read`

_FINAL = [
    "run",
    "update",
    "normalised_reads",
    "apply_pulses",
    "read_matvec",
    "allocate",
    "check_fit",
    "snapshot",
    "restore",
]
_MISCOUNT = "backend returned {} results for {} reads; mend its _execute"


class CrossbarBackend(Closing):
    """One chip. Subclasses implement the hooks at the end; the public methods marked final are the contract.

    Parameters
    ----------
    capabilities : Capabilities
    fingerprint : str
        Identifies chip, preset and seed; a snapshot is only restored where it is the same.

    Examples
    --------
    >>> with make("simulated", preset="idealised") as chip:
    ...     chip.arm()
    ...     array = chip.allocate("W", 4, 3)
    ...     y = chip.read_matvec(array, torch.ones(1, 3)).values
    """

    takes_scans: ClassVar[bool] = False  # whether `_execute` gets a `Scan` as it is; otherwise as pulses and reads
    restores_devices: ClassVar[bool] = True  # whether `restore` moves devices back; a real chip goes on by its journal

    def __init__(self, capabilities: Capabilities, fingerprint: str) -> None:
        self._capabilities = capabilities
        self._fingerprint = fingerprint
        self._state = ChipState(allowed=Limits().within(capabilities))
        self._space = Diagonals(capabilities.arrays, capabilities.rows, capabilities.columns)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _FINAL:
            if name in cls.__dict__:
                raise TypeError(f"{cls.__name__} must not override {name}: implement _execute and the other hooks")

    @property
    def capabilities(self) -> Capabilities:
        """What this chip can do."""
        return self._capabilities

    @property
    def fingerprint(self) -> str:
        """What identifies chip, preset and seed."""
        return self._fingerprint

    @property
    def allowed(self) -> tuple[int, float]:
        """The longest bit length and the largest input within the chip's capabilities and the armed limits."""
        return self._state.allowed

    # ---- the contract -------------------------------------------------------------------------------------------

    @final
    def allocate(self, name: str, n_out: int, n_in: int, cell: Cell = Cell.SINGLE) -> Array:
        """Return the array of that name, placed on the chip at the first call.

        Raises
        ------
        AllocationError
            If it does not fit, or if the name is taken by an array of another shape or cell.
        """
        known = self._state.arrays.get(name)
        if known is not None:
            check_same(known, n_out, n_in, cell)
            return known
        parts = self._space.place(name, n_out, n_in, cell.rectangles)
        return self._add(Array(name, n_out, n_in, cell, parts))

    @final
    def check_fit(self, wanted: Iterable[tuple[int, int, Cell]]) -> None:
        """Raise `AllocationError` unless arrays ``(n_out, n_in, cell)`` fit together on what is left of the chip.

        Nothing is placed: a network that is too large is so refused before its first layer is written.
        """
        space = self._space.copy()
        for place, (n_out, n_in, cell) in enumerate(wanted, start=1):
            space.place(f"number {place} of those planned", n_out, n_in, cell.rectangles)

    @final
    def run(self, steps: Steps) -> tuple[ReadResult, ...]:
        """Run steps in order and return one `ReadResult` for each `Read` and each `Scan`.

        All steps are validated before the first is sent. Nothing is retried inside a sequence: a saturated output is
        only flagged.

        Raises
        ------
        NotArmedError, StepError, LimitError, UnsupportedError
            Nothing was sent.
        """
        steps = tuple(steps)
        validator = self._state.armed()
        only = steps[0] if len(steps) == 1 else None
        if isinstance(only, Read) and (self._capabilities.summed_reads or is_plain(only.terms)):
            return self._run_read(validator, only)
        tallies = [validator.check(position, step) for position, step in enumerate(steps)]
        self._admit(steps, tallies)
        plan = [self._plan(step) for step in steps]
        sent = plan[0] if len(plan) == 1 else [part for parts in plan for part in parts]
        results = tuple(self._execute(sent))
        expected = sum([isinstance(part.step, (Read, Scan)) for part in sent])
        if len(results) != expected:
            raise BackendError(_MISCOUNT.format(len(results), expected))
        for step, tally in zip(steps, tallies, strict=True):
            self._state.meter.add(step, tally, self._capabilities)
        whole = all([len(parts) == 1 and parts[0].step is step for step, parts in zip(steps, plan, strict=True)])
        return results if whole else join_all(steps, plan, results)

    @final
    def update(self, update: Update) -> torch.Tensor:
        """Draw the trains of a mini-batch, pulse an array with them, and return what was read, float32 ``[R, n_out]``.

        The same as ``run([update.step()])``, which says more of it, and what is done where the chip has no other way.

        Raises
        ------
        NotArmedError, StepError, LimitError, UnsupportedError
            Nothing was sent.
        """
        validator, done = self._state.armed(), None
        if validator.bounds is not None and validator.fits(update):
            counters = self._state.counters[update.array.name]
            done = self._update(update, counters.vectors, validator.bounds)
        if done is None:
            results = self.run([update.step()])
            return results[0].values if results else update.d.new_zeros(0, update.array.n_out)
        counters.samples += update.x.shape[0]
        counters.vectors += len(update.reads.columns)
        self._state.meter.add_update(update, done.tally, self._capabilities)
        return done.values

    @final
    def normalised_reads(self, jobs: Sequence[ReadJob], transposed: bool = False) -> Sequence[Normalised] | None:
        """Read vectors of any size, each divided by its largest value and multiplied back, where the chip can do that.

        None, and nothing sent, where it cannot or where something is wrong: `rpudriver.reading.managed_reads`, which
        is what to call, then does the same with a `Read` for each job.

        Parameters
        ----------
        jobs : sequence of (terms, x)
            As in `Read`, but for the size of x.
        """
        validator, chip, state = self._state.armed(), self._capabilities, self._state
        if not validator.fit_together(jobs, transposed):
            return None
        firsts = [state.counters[terms[0][0].name].vectors for terms, _ in jobs]
        done = self._normalised(jobs, firsts, transposed)
        if done is not None:
            for terms, x in jobs:
                advance(terms, x.shape[0], state.counters)
                state.meter.add_read(terms, x.shape[0], transposed, chip)
        return done

    @final
    def apply_pulses(
        self, array: Array, trains: PulseTrains, kind: str = "update", port: Port = Port.DEVICE, repeat: int = 1
    ) -> None:
        """Run one `Pulse`."""
        self.run([Pulse(array, trains, kind, port, repeat)])

    @final
    def read_matvec(self, array: Array, x: torch.Tensor, transposed: bool = False) -> ReadResult:
        """Run one `Read` of one array."""
        return self.run([Read(((array, 1.0),), x, transposed)])[0]

    def write(self, array: Array, target: torch.Tensor, port: Port = Port.DEVICE) -> torch.Tensor:
        """Programme weights by pulsing and reading until they stop getting nearer; a chip may know a better way.

        Parameters
        ----------
        target : float32 tensor ``[n_out, n_in]``
            Wanted value of the cells (device minus reference), chip units.
        port : which device is moved.

        Returns
        -------
        float32 tensor ``[n_out, n_in]``, what was last read.
        """
        return write_and_verify(self, array, target, port)

    def arm(self, limits: Limits | None = None) -> None:
        """Allow pulses and reads, within limits. A chip is never armed by itself.

        Raises
        ------
        LimitError
            If the limits exceed the chip's capabilities.
        """
        limits = limits or Limits()
        check_limits(limits, self._capabilities)
        self._state.arm(limits, self._capabilities)

    def idle(self) -> None:
        """Put every output at rest and disarm."""
        self._state.arm(None, self._capabilities)

    def status(self) -> Status:
        """Return arming, limits, arrays and cost so far; sends nothing."""
        state = self._state
        return Status(state.limits is not None, state.limits, tuple(state.arrays.values()), state.meter.as_dict())

    @final
    def snapshot(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the whole state of some arrays (default: all), of their counters and of the cost meter.

        On a real chip the state is a place in its journal; see `keep_journal`.

        The result holds plain numbers, strings and tensors: ``torch.save`` takes it.

        Raises
        ------
        StepError
            If a name is not that of an array on this chip.
        UnsupportedError
            On a chip that cannot tell its state.
        """
        chosen = list(self._state.arrays) if names is None else list(names)
        entries = {}
        for name in chosen:
            if name not in self._state.arrays:
                raise StepError(f"no array {name!r} on this chip" + did_you_mean(name, self._state.arrays))
            array = self._state.arrays[name]
            entries[name] = entry(array, self._state.counters[name], self._save(array))
        cost = self._state.meter.as_dict()
        return {"version": VERSION, "fingerprint": self._fingerprint, "arrays": entries, "cost": cost}

    @final
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put back what `snapshot` returned; arrays that it holds and the chip does not are placed first.

        Raises
        ------
        CheckpointError
            If it was taken by another version, chip, preset or seed, if its arrays lie where others do, or if a
            state has the wrong shape; no state is changed then.
        """
        saved = check_snapshot(snapshot, self._fingerprint, self._state.arrays, self._space)
        for name, array in saved.items():
            if name not in self._state.arrays:
                self._space.occupy(array.parts, array.n_out, array.n_in)
                self._add(array)
        for name in saved:
            known = self._state.arrays[name]
            check_state(known, snapshot["arrays"][name]["state"], self._save(known))
        for name in saved:
            saved_array = snapshot["arrays"][name]
            self._state.counters[name] = Counters(saved_array["samples"], saved_array["vectors"])
            self._load(self._state.arrays[name], saved_array["state"])
        self._state.meter = CostMeter(**snapshot["cost"], turns=self._state.meter.turns)

    def keep_journal(self, path: Path, resume: bool) -> None:
        """Keep a journal of a run in a file, or go on with it; called before anything is sent.

        Simulators need none: their snapshots hold the devices. On a real chip a run that is resumed starts from the
        beginning of its journal: what was done then is not done again, and reads return what they returned. The file
        is made with the first batch, so that a run that is refused before leaves none.

        Raises
        ------
        JournalError
            If there is one already and the run is not resumed, or if it belongs to another chip.
        """

    def close(self) -> None:
        """Go idle and let go of the chip; closing twice is harmless."""
        if not self._state.closed:
            self._state.closed = True  # even if idling fails: the next call may be another owner's time
            self.idle()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        raise ConfigError("a chip cannot be copied; open a second one and restore a snapshot into it")

    def __reduce__(self) -> str:
        raise ConfigError("a chip cannot be pickled; save its snapshot() instead")

    # ---- hooks --------------------------------------------------------------------------------------------------

    @abstractmethod
    def _allocate(self, array: Array) -> None:
        """Prepare a new array."""

    @abstractmethod
    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        """Run validated, numbered steps in order; one result for each read.

        Sums occur only where the chip can sum, scans only where `takes_scans` is set.
        """

    def _admit(self, steps: Sequence[Step], tallies: Sequence[Tally | None]) -> None:
        """Refuse steps that go beyond what only this chip knows of, its endurance for example; nothing is sent yet.

        `tallies` are those of the steps' trains, None where a step has none. Called after all other checks.
        """

    def _update(self, update: Update, vector: int, bounds: Bounds) -> Done | None:
        """Do an update in a way of the chip's own, bit for bit what its step does; `vector` numbers its first read.

        None, and nothing done, where there is no such way, or where the trains are out of bounds.
        """
        return None

    def _normalised(
        self, jobs: Sequence[ReadJob], firsts: Sequence[int], transposed: bool
    ) -> Sequence[Normalised] | None:
        """Do `normalised_reads` in a way of the chip's own, bit for bit what reads do; `firsts` number the vectors.

        None, and nothing done, where there is no such way, where a vector is zero (those are not sent) or not finite.
        """
        return None

    @abstractmethod
    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        """Return an array's state."""

    @abstractmethod
    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        """Put an array's state back."""

    # ---- numbering and counting ---------------------------------------------------------------------------------

    def _run_read(self, validator: Validator, step: Read) -> tuple[ReadResult, ...]:
        """Do what `run` does for one read that is sent whole: of one vector it would else cost as much again."""
        validator.check_read("step 0", step)
        results = self._execute([number_read(step, self._state.counters)])
        if len(results) != 1:
            raise BackendError(_MISCOUNT.format(len(results), 1))
        self._state.meter.add(step, None, self._capabilities)
        return (results[0],)

    def _add(self, array: Array) -> Array:
        self._allocate(array)
        self._state.arrays[array.name] = array
        self._state.counters[array.name] = Counters()
        return array

    def _plan(self, step: Step) -> list[Numbered]:
        """Return what the hook gets for a step, and advance the counters of the arrays that it touches."""
        if isinstance(step, Read) and not self._capabilities.summed_reads:
            return [number(part, self._state.counters) for part in split(step)]
        numbered = number(step, self._state.counters)
        return [numbered] if self.takes_scans or not isinstance(step, Scan) else expand(numbered)
