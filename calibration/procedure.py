"""What every calibration procedure is: configured by its constructor, run by `fit`, resumable after every portion.

    found = Characterise(cycles=3).fit(chip)      # settings in the constructor, results end in _
    found.data_                                   # the data set: named tensors, what the HDF5 file holds
    found.record_.cost                            # pulses and reads that it took

A procedure measures in portions of a second or so. All that it has learned lies in its data, so a journal can save it
between two portions and hand it back after an interruption; evaluation needs the data alone.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, final

import torch

from rpudriver import __version__
from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.findings import Finding
from rpudriver.config.model import did_you_mean
from rpudriver.errors import CalibrationError, ConfigError, UnsupportedError
from rpudriver.types import Array, Cell

Data = dict[str, Any]  # tensors on the CPU, numbers and texts; "group/name" makes a group of the HDF5 file
Cost = dict[str, int | float]


@final
@dataclass(frozen=True)
class Record:
    """Where a result comes from.

    Attributes
    ----------
    procedure, settings, seed : the class's `name`, and what its constructor was given.
    chip, array, rows, columns : the backend's fingerprint, and the array that was measured.
    started : date and time, UTC; wall_time_s counts all parts of an interrupted measurement.
    cost : what was spent, in the terms of the cost meter: samples, coincidences, reads, chip time, energy.
    """

    procedure: str
    settings: Mapping[str, Any]
    seed: int
    chip: str
    array: str
    rows: int
    columns: int
    started: str
    wall_time_s: float
    cost: Cost
    version: str = __version__

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(vars(self))


@final
@dataclass(frozen=True)
class Progress:
    """How far a measurement is: `done` of `total` in its own unit; a total may be an estimate that moves."""

    done: float
    total: float
    note: str = ""


class Journal(ABC):
    """What keeps an unfinished measurement; `rpudriver.experiment.measurement` has the one that writes files."""

    @abstractmethod
    def resume(self) -> dict[str, Any] | None:
        """Return what was saved last, or None for a fresh start."""

    @abstractmethod
    def note(self, progress: Progress, state: Callable[[], dict[str, Any]]) -> None:
        """Take notice of a finished portion; `state` returns what to save. May raise, to end the measurement."""


@final
class Unrecorded(Journal):
    """Keeps nothing: for measurements in a program of one's own."""

    def resume(self) -> dict[str, Any] | None:
        return None

    def note(self, progress: Progress, state: Callable[[], dict[str, Any]]) -> None:
        return None


def setting(
    default: Any, help: str, *, within: tuple[float, float] | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """Return a dataclass field that is a setting: its help is the command line's, its range is checked by `fit`."""
    return field(default=default, metadata={"help": help, "within": within, "choices": choices})


@dataclass(eq=False)
class Procedure(ABC):
    """The base of all procedures. Subclasses are dataclasses whose fields are `setting`.

    Attributes
    ----------
    data_ : the data set.
    record_ : where it comes from.
    findings_ : what is wrong with devices or lines, named; empty on a sound chip.
    """

    name: ClassVar[str]
    seed: int = setting(0, "seed of everything that is drawn", within=(0, 2**63 - 1))

    data_: Data = field(init=False, repr=False)
    record_: Record = field(init=False, repr=False)
    findings_: tuple[Finding, ...] = field(init=False, repr=False)

    @final
    def fit(self, backend: CrossbarBackend, array: Array | None = None, journal: Journal | None = None) -> Self:
        """Measure an array (default: one that fills a physical array of the chip), evaluate, and return self.

        Raises
        ------
        ConfigError
            If a setting is out of range; nothing was sent.
        BackendError, UnsupportedError
            If the chip is not armed, has no room, or cannot do what is needed; nothing was sent.
        CalibrationError
            If what the chip returned cannot be evaluated; the journal keeps what was measured.
        """
        journal = journal or Unrecorded()
        self._check_settings()
        start, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
        saved = journal.resume()
        if saved is not None and saved["chip"] is not None:
            backend.restore(saved["chip"])
        if array is None:
            chip = backend.capabilities
            array = backend.allocate(self.name, chip.rows, chip.columns, self.cell)
        self._check(backend, array)
        before, spent, waited = backend.status().cost, dict[str, int | float](), 0.0
        if saved is None:
            data = self._start(backend, array)
        else:
            data, waited, started = saved["data"], saved["wall_time_s"], saved["started"]
            if saved["chip"] is not None:
                before = saved["before"]  # the meter was restored with the chip
            else:
                spent = saved["cost"]

        def state() -> dict[str, Any]:
            now = backend.status().cost
            return {
                "data": data,
                "chip": _snapshot(backend),
                "before": before,
                "cost": {key: spent.get(key, 0) + now[key] - before[key] for key in now},
                "wall_time_s": waited + time.perf_counter() - start,
                "started": started,
            }

        while not self._advance(backend, array, data):
            journal.note(self._progress(data), state)
        journal.note(self._progress(data), state)
        self.data_, self.findings_ = data, ()
        self._conclude(data)
        last = state()
        self.record_ = Record(
            self.name, self.settings(), self.seed, backend.fingerprint, array.name, *array.shape,
            last["started"], last["wall_time_s"], last["cost"],
        )  # fmt: skip
        return self

    @property
    def cell(self) -> Cell:
        """The cells of the array that `fit` allocates where it is given none."""
        return Cell.SINGLE

    def settings(self) -> dict[str, Any]:
        """Return what the constructor was given, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return the results as documented plain numbers, for JSON."""

    # ---- hooks --------------------------------------------------------------------------------------------------

    def _check(self, backend: CrossbarBackend, array: Array) -> None:  # noqa: B027 - most need nothing of a chip
        """Refuse what this chip or array cannot do, before anything is sent."""

    @abstractmethod
    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        """Return the first data: what evaluation needs to know of the chip, and room for what will be measured."""

    @abstractmethod
    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        """Measure the next portion into the data; return whether it was the last.

        Where the portion stands follows from the data alone, so that a resumed measurement goes on where it was.
        """

    @abstractmethod
    def _progress(self, data: Data) -> Progress:
        """Return how far the data are."""

    @abstractmethod
    def _conclude(self, data: Data) -> None:
        """Evaluate the data: set the results, whose names end in _."""

    def _check_settings(self) -> None:
        for each in fields(self):
            if not each.init:
                continue
            value, within, choices = getattr(self, each.name), each.metadata["within"], each.metadata["choices"]
            where = f"{type(self).__name__}: {each.name} = {value!r}"
            if choices and value not in choices:
                raise ConfigError(where + did_you_mean(str(value), choices))
            if within is not None and value is not None and not within[0] <= value <= within[1]:  # refuses NaN, too
                raise ConfigError(f"{where} must lie in [{within[0]:g}, {within[1]:g}]")


def _snapshot(backend: CrossbarBackend) -> dict[str, Any] | None:
    """Return the state of a chip that can tell it; a real chip keeps its own."""
    try:
        return backend.snapshot()
    except UnsupportedError:
        return None


def usable(values: torch.Tensor, what: str) -> torch.Tensor:
    """Return what a chip has read, on the CPU; raise `CalibrationError` if any of it is NaN or infinite."""
    values = values.detach().cpu()
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        raise CalibrationError(
            f"{what}: the chip returned {float(values[tuple(bad[0])])} at {bad[0].tolist()} (and {len(bad) - 1} more "
            "values that are no numbers); check the read-out of that line"
        )
    return values
