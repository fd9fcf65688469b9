"""The backend ``dry-run``: a chip of some profile, all of it checked and counted, and nothing at the end of it."""

import tempfile
import zlib
from pathlib import Path
from typing import Any, final

import numpy as np

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.backend import HardwareBackend
from rpudriver.backends.hardware.driver import Driver, Fate, Identity, Reply, Settings, Ticket
from rpudriver.backends.hardware.opening import ChipOptions, open_chip, parse_options
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import NotArmedError

LARGEST = 1 << 15  # of the reference firmware


class DryRunOptions(ChipOptions):
    """Options of the backend ``dry-run``: those of a serial board may stay, its port is not opened.

    Attributes
    ----------
    state : by default a folder that goes with the backend: pulses that never were do not count.
    """

    port: str | None = None
    baud: int | None = None
    capture: str | None = None


@final
class NoBoard(Driver):
    """Accepts what the limits of a profile allow, and reads zeros."""

    def __init__(self, profile: ChipProfile, scratch: "tempfile.TemporaryDirectory[str]") -> None:
        self._profile, self._scratch = profile, scratch
        self._armed, self._seq = False, 0

    def connect(self) -> Identity:
        return Identity(self._profile.chip, "dry run, no board", 1, self._armed, "dry run", None)

    @property
    def largest(self) -> tuple[int, int]:
        return LARGEST, LARGEST

    @property
    def draws_trains(self) -> bool:
        return True

    def arm(self, settings: Settings) -> None:
        self._armed = True

    def stamp(self, operations: bytes) -> Ticket:
        return Ticket(1, self._seq + 1, zlib.crc32(operations))

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        if not self._armed:
            raise NotArmedError("the dry run is not armed; arm it first")
        self._seq = ticket.seq
        records = []
        for operation in wire.decode(operations, self._profile.converters.input_bits):
            if isinstance(operation, wire.ReadOperation):
                records.append(wire.record(np.zeros((len(operation.codes), operation.outputs), np.int16)))
            else:
                records.append(wire.record())
        return Reply(b"".join(records))

    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        return Fate.NOT_DONE

    def idle(self) -> None:
        self._armed = False

    def close(self) -> None:
        self._armed = False
        self._scratch.cleanup()


def open_dry_run(**options: Any) -> HardwareBackend:
    """Open a chip that is not there: limits, energy and endurance are checked, pulses counted, reads are zeros.

    Raises
    ------
    ConfigError
    """
    chosen = parse_options(DryRunOptions, "dry-run", options)
    scratch = tempfile.TemporaryDirectory(prefix="rpudriver-dry-run-")
    state = chosen.model_copy(update={"state": chosen.state or str(Path(scratch.name))})
    try:
        return open_chip(state, lambda profile: NoBoard(profile, scratch))
    except BaseException:
        scratch.cleanup()
        raise
