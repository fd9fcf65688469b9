"""A real chip: steps go down as operations in volts that the board applies, codes come up as normalised results.

The order of a call: the base class validates all steps, `_admit` holds them against the chip's envelope and the
endurance of its devices, then they are encoded whole, and only then the first byte leaves.
"""

import contextlib
import logging
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.counting import Tally, tally
from rpudriver.backends.hardware import earlier, encoding, shutdown
from rpudriver.backends.hardware.driver import Driver, Identity
from rpudriver.backends.hardware.encoding import CodeForm, Piece, Room, Timing
from rpudriver.backends.hardware.endurance import DeviceCounters, Wear
from rpudriver.backends.hardware.journal import Durability, Journal
from rpudriver.backends.hardware.journal_file import refuse_existing
from rpudriver.backends.hardware.journal_records import Header
from rpudriver.backends.hardware.ledger import Ledger
from rpudriver.backends.hardware.limits import check_sequence
from rpudriver.backends.hardware.operations import Rectangle
from rpudriver.backends.hardware.ownership import Ownership
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.turns import pulsed_parts
from rpudriver.backends.updates import Bounds, Done, Update
from rpudriver.backends.validation import Limits
from rpudriver.errors import BackendError, CheckpointError, JournalError
from rpudriver.types import Array, Cell, Placement, Pulse, Read, ReadResult, Scan, Step, Wait

log = logging.getLogger("rpudriver.hardware")


@final
@dataclass(frozen=True)
class Care:
    """What keeps a chip from harm between runs: its owner's lock, its counters, and where journals go."""

    owner: Ownership
    counters: DeviceCounters
    journals: Path
    durable: Durability


class HardwareBackend(CrossbarBackend):
    """A chip behind a driver. Open it with ``make("serial-board", ...)`` or ``make("scpi-bench", ...)``."""

    restores_devices: ClassVar[bool] = False

    def __init__(self, profile: ChipProfile, driver: Driver, identity: Identity, care: Care) -> None:
        what = "" if identity.real else "dry run of "
        super().__init__(profile.capabilities(), f"{what}{profile.chip} profile {profile.digest()}")
        self._profile, self._driver, self._care = profile, driver, care
        self.identity = identity
        self._kinds = {name: number for number, name in enumerate(profile.kind_names())}
        settings = profile.settings(Limits())
        self._slot_ns = [kind.width_ns + kind.gap_ns for kind in settings.kinds]
        self._form = CodeForm.of(profile.converters.input_bits, settings.read_us)
        self._room = Room(*driver.largest, 1000 * settings.max_run_us)
        self._level = profile.output_bound / profile.output_codes
        self._ledger = Ledger(driver, self._own_journal, self._form)
        self._armed_before = False
        shutdown.register(self)

    # ---- the chip as a whole ------------------------------------------------------------------------------------

    def arm(self, limits: Limits | None = None) -> None:
        super().arm(limits)
        try:
            with contextlib.nullcontext() if self._armed_before else self._earlier():
                self._ledger.settle()
                self._driver.arm(self._profile.settings(limits or Limits()))
                self._ledger.settle()
            self._armed_before = True
        except BaseException:
            super().idle()
            raise
        self._ledger.note(f"armed {self._profile.chip} with {limits or 'all that its profile allows'}")

    def idle(self) -> None:
        super().idle()
        self._driver.idle()
        self._ledger.note(f"idle: outputs of {self._profile.chip} at rest")

    def close(self) -> None:
        with contextlib.ExitStack() as stack:  # all of it, whatever fails on the way; the lock goes last
            for end in (self._care.owner.release, self._care.counters.close, self._driver.close, self._ledger.close):
                stack.callback(end)
            stack.callback(shutdown.forget, self)
            super().close()

    def wear(self) -> Wear:
        """Return how much of the endurance of the devices is used up."""
        return self._care.counters.wear()

    @property
    def journals(self) -> Path:
        """Where runs without a folder of their own keep their journals."""
        return self._care.journals

    def keep_journal(self, path: Path, resume: bool) -> None:
        if resume and path.exists():
            self._ledger.go_on(Journal.resume(path, self._header(), self._care.durable))
        else:
            refuse_existing(path)
            self._ledger.begin(lambda: Journal.create(path, self._header(), self._care.durable))

    def _earlier(self) -> contextlib.AbstractContextManager[None]:
        return earlier.asked(self._care.journals, self._ledger.path, self._header(), self._driver)

    def _header(self) -> Header:
        return Header(self._profile.chip, self.fingerprint, self._profile.digest(), self._profile.converters.input_bits)

    def _own_journal(self) -> Journal:
        name = f"{datetime.now():%Y-%m-%d-%H%M%S.%f}-{os.getpid()}-{secrets.token_hex(6)}.journal"
        return Journal.create(self._care.journals / name, self._header(), self._care.durable)

    # ---- hooks --------------------------------------------------------------------------------------------------

    def _allocate(self, array: Array) -> None:
        pass  # its devices are where they are

    def _admit(self, steps: Sequence[Step], tallies: Sequence[Tally | None]) -> None:
        if self._ledger.replaying:
            return  # admitted and counted when it was done
        check_sequence(steps, tallies, self._profile)
        self._care.counters.admit(
            (place, step.trains, step.repeat if isinstance(step, Pulse) else 1)
            for step in steps
            if isinstance(step, (Pulse, Scan))
            for place in pulsed_parts(step)
        )

    def _update(self, update: Update, vector: int, bounds: Bounds) -> Done | None:
        """Let the board draw long trains: up to 32 slots, the slots themselves are fewer bytes than what draws them."""
        drawing = update.drawing
        slots_do = drawing.max_bl <= 32 or not self._profile.parallel_pulses  # how many cross-points it will be, counts
        if slots_do or len(update.reads.columns) or not self._driver.draws_trains:
            return None
        step = Pulse(update.array, update.draw())
        found = tally(step.trains)
        wrong_way = (found.up and not bounds.up) or (found.down and not bounds.down)
        if found.longest > bounds.longest or found.total > bounds.device_pulses or wrong_way:
            return None  # which is refused, and said how, where the step is checked
        self._admit([step], [found])
        self._count([Numbered(step)])
        described = encoding.describe(update.x.cpu(), update.d.cpu(), update.source, update.first, drawing)
        pieces = [
            piece
            for flip, place in enumerate(pulsed_parts(step))
            for piece in encoding.drawn_pieces(
                _rectangle(step.array, place), self._timing(step.kind), described, bool(flip), self._room
            )
        ]
        for batch in encoding.batches(pieces, self._room):
            self._ledger.do(b"".join([piece.data for piece in batch]))
        return Done(torch.zeros(0, update.array.n_out), found)

    def _timing(self, kind: str) -> Timing:
        number = self._kinds[kind]
        return Timing(number, self._slot_ns[number], apart=not self._profile.parallel_pulses)

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        pieces, owners = list[Piece](), list[int]()  # of which step a piece is
        for n, numbered in enumerate(steps):
            made = self._pieces(numbered.step)
            pieces += made
            owners += [n] * len(made)
        codes: list[list[np.ndarray]] = [[] for _ in steps]
        self._count(steps)
        done = 0
        for batch in encoding.batches(pieces, self._room):
            records = self._ledger.do(b"".join([piece.data for piece in batch])).records
            at = 0
            for piece in batch:
                if piece.reply > 1:
                    codes[owners[done]].append(np.frombuffer(records, "<i2", (piece.reply - 1) // 2, at + 1))
                at, done = at + piece.reply, done + 1
            if at != len(records):
                raise BackendError(
                    f"the instrument answered {len(records)} bytes of records, not {at}; mend its driver"
                )
        return [self._result(n.step, found) for n, found in zip(steps, codes, strict=True) if isinstance(n.step, Read)]

    def _count(self, steps: Sequence[Numbered]) -> None:
        """Count pulses before they are sent: a killed batch may be counted in vain, never the reverse."""
        if not self._ledger.replaying:
            for step in (numbered.step for numbered in steps):
                if isinstance(step, Pulse):
                    for place in pulsed_parts(step):
                        self._care.counters.add(place, step.trains, step.repeat)

    def _pieces(self, step: Step) -> list[Piece]:
        match step:
            case Pulse():
                return [
                    piece
                    for flip, place in enumerate(pulsed_parts(step))  # the partner of a pair moves the other way
                    for piece in encoding.pulse_pieces(
                        _rectangle(step.array, place),
                        self._timing(step.kind),
                        step.trains,
                        step.repeat,
                        bool(flip),
                        self._room,
                    )
                ]
            case Read():
                return self._read_pieces(step)
            case Wait():
                return encoding.wait_pieces(step.seconds, self._room)
        raise BackendError(f"{type(step).__name__} is not a step that a board takes")

    def _read_pieces(self, step: Read) -> list[Piece]:
        ((array, _),) = step.terms
        codes = np.rint(step.x.detach().cpu().numpy() * np.float32(self._form.largest)).astype(np.int16)
        first, *rest = (_rectangle(array, place) for place in array.parts)
        scale = 1 if array.cell is Cell.PAIR else 0  # half a difference reaches twice as far
        second = rest[0] if rest else None
        return encoding.read_pieces(first, second, scale, step.transposed, codes, self._form, self._room)

    def _result(self, step: Read, found: Sequence[np.ndarray]) -> ReadResult:
        ((array, _),) = step.terms
        outputs = array.n_in if step.transposed else array.n_out
        codes = np.concatenate(found) if found else np.zeros(0, np.int16)
        codes = codes.reshape(-1, outputs)
        # half a difference in range 1 has the level of a whole one in range 0
        values = torch.from_numpy(codes.astype(np.float32)) * self._level
        saturated = torch.from_numpy(np.abs(codes) >= self._profile.output_codes)
        return ReadResult(values.to(step.x.device), saturated.to(step.x.device))

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        return {"batch": torch.tensor(self._ledger.position)}

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        try:
            self._ledger.move(int(state["batch"]))
        except JournalError as error:
            raise CheckpointError(str(error)) from error


def _rectangle(array: Array, place: Placement) -> Rectangle:
    return Rectangle(place.array, place.row, array.n_out, place.column, array.n_in)
