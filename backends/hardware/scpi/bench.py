"""The driver of a bench: a 2450 that pulses and reads, a 2600 on the gates, a 3700 matrix that picks one device.

SCPI cannot tell a lost command from a lost reply, and these instruments keep no number of what they did: a batch that
was begun and whose end is not known stays uncertain, and is never sent again.
"""

import contextlib
import logging
import secrets
import time
import zlib
from collections.abc import Iterator
from typing import final

import numpy as np

from rpudriver.backends.hardware import operations as wire
from rpudriver.backends.hardware.driver import Driver, Fate, Identity, KindCodes, Reply, Settings, Ticket
from rpudriver.backends.hardware.operations import PulseOperation, ReadOperation, Rectangle, WaitOperation
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.hardware.scpi import programme
from rpudriver.backends.hardware.scpi.link import Link
from rpudriver.backends.hardware.scpi.matrix import Gates, Matrix
from rpudriver.backends.hardware.scpi.source import Shape, Source
from rpudriver.errors import BoardError, ConfigError, LinkLostError, NotArmedError

_log = logging.getLogger("rpudriver.hardware")
LARGEST = 4096, 8192  # bytes of a batch and of its records: a few seconds of pulses


@final
class ScpiBench(Driver):
    """Instruments around a chip of which each device has a transistor.

    Parameters
    ----------
    profile : with a [bench] table.
    links : to the source-measure unit, the gate source and the matrix.
    """

    def __init__(self, profile: ChipProfile, links: tuple[Link, Link, Link]) -> None:
        if profile.bench is None:
            raise ConfigError(f"chip {profile.chip!r} has no [bench] table: add one, as chips/bench-8.toml has")
        self._profile, self._middle, self._links = profile, profile.bench.middle_siemens, links
        self._source, self._gates = Source(links[0]), Gates(links[1])
        self._matrix = Matrix(links[2], profile, profile.bench)
        self._settings: Settings | None = None
        self._session = self._seq = 0

    def connect(self) -> Identity:
        self._settings = None
        who = [part.meet() for part in (self._source, self._gates, self._matrix)]
        self._session, self._seq = secrets.randbits(32), 0
        found = [name for name, part in (("2450", self._source), ("2600", self._gates)) if part.output_on()]
        closed = self._matrix.closed()
        state = [f"output of the {name} is on" for name in found] + ([f"relays {closed} are closed"] if closed else [])
        reason = "; ".join(state) or "outputs are off"
        return Identity(self._profile.chip, "; ".join(who), self._session, False, reason, None)

    @property
    def largest(self) -> tuple[int, int]:
        return LARGEST

    def arm(self, settings: Settings) -> None:
        programme.check_kinds(settings.kinds)
        c = self._profile.converters
        self._settings = None
        most = settings.max_input * c.volts_per_input_code
        amperes = settings.compliance * c.amperes_per_compliance_code
        self._source.prepare(_levels(settings, c.volts_per_rail_code), most, amperes, settings.read_us * 1e-6)
        self._gate_volts = max(kind.gate for kind in settings.kinds) * c.volts_per_gate_code
        self._gates.prepare(self._gate_volts)
        self._matrix.prepare()
        self._settings = settings

    def stamp(self, operations: bytes) -> Ticket:
        return Ticket(self._session, self._seq + 1, zlib.crc32(operations))

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        """Do a batch device by device; each device's pulses run inside the instrument to their end.

        Raises
        ------
        LinkLostError
            Also if an instrument reports an error after part of the batch was done.
        """
        if self._settings is None:
            raise NotArmedError(f"batch {ticket.seq} was not sent: the bench is not armed")
        found = wire.decode(operations, self._profile.converters.input_bits)
        programme.check(found, self._settings, self._profile)
        self._seq = ticket.seq
        records = []
        with self._at_work(ticket):
            for operation in found:
                record, tripped = self._do(operation, self._settings)
                records.append(record)
                if tripped:
                    break
        if tripped:
            _log.warning("batch %d: the current limit of the 2450 held a source; the bench is disarmed", ticket.seq)
            self.idle()
        return Reply(b"".join(records), tripped)

    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        refused = ticket.session == self._session and ticket.seq > self._seq  # and never begun
        return Fate.NOT_DONE if refused else Fate.UNKNOWN

    def idle(self) -> None:
        self._settings = None
        problems = []
        for part in (self._source, self._gates, self._matrix):  # each one, whatever becomes of the others
            try:
                part.rest()
            except (LinkLostError, BoardError) as error:
                problems.append(str(error))
        self.close()  # an instrument has room for one program: others may look
        if problems:
            raise LinkLostError(f"not all outputs are known to be off: {'; '.join(problems)}; look at the instruments")

    def close(self) -> None:
        for link in self._links:
            link.close()

    @contextlib.contextmanager
    def _at_work(self, ticket: Ticket) -> Iterator[None]:
        """Have the gates open for a batch, and everything at rest after it; errors of instruments end it."""
        try:
            self._gates.open(self._gate_volts)
            yield
            errors = [error for part in (self._source, self._gates, self._matrix) for error in part.errors()]
            if errors:
                raise BoardError("; ".join(errors))
            self._gates.rest()
        except BaseException as error:
            with contextlib.suppress(LinkLostError):  # the one that is being raised says it
                self.idle()
            if isinstance(error, BoardError):
                raise LinkLostError(f"batch {ticket.seq} stopped on its way, and is to be settled: {error}") from error
            raise

    def _do(self, operation: wire.Operation, settings: Settings) -> tuple[bytes, bool]:
        """Return the record of an operation, and whether the limit was hit."""
        match operation:
            case PulseOperation():
                tripped = self._pulse(operation, settings.kinds[operation.kind])
                return wire.record(None, tripped), tripped
            case ReadOperation():
                return self._read(operation)
            case WaitOperation():
                time.sleep(operation.us * 1e-6)  # at most batch_s of the profile
                return wire.record(), False

    def _pulse(self, operation: PulseOperation, kind: KindCodes) -> bool:
        width, gap = kind.width_ns * 1e-9, kind.gap_ns * 1e-9
        for train in programme.trains(operation):
            self._matrix.select(operation.where.array, train.row, train.column)
            for count, up in train.runs:
                if self._source.pulse(Shape(_level(operation.kind, up), width, gap), count):
                    return True
        return False

    def _read(self, operation: ReadOperation) -> tuple[bytes, bool]:
        """Read one device after the other at each of its inputs, and sum what an output's devices carry."""
        c = self._profile.converters
        amperes, tripped = self._currents(operation, operation.where)
        if operation.second is not None and not tripped:
            less, tripped = self._currents(operation, operation.second)
            amperes -= less
        most = self._profile.output_codes
        codes = amperes / (c.amperes_full_scale * 2**operation.range) * most
        return wire.record(np.rint(codes.clip(-most, most)).astype(np.int16), tripped), tripped

    def _currents(self, operation: ReadOperation, where: Rectangle) -> tuple[np.ndarray, bool]:
        """Return amperes ``[vectors, outputs]`` above what devices at weight 0 carry."""
        volts = operation.codes * self._profile.converters.volts_per_input_code  # [vectors, inputs]
        amperes = np.zeros((len(volts), operation.outputs))
        for line, driven in enumerate(volts.T):
            used = np.flatnonzero(driven)
            for output in range(operation.outputs if len(used) else 0):
                row, column = (line, output) if operation.transposed else (output, line)
                self._matrix.select(where.array, where.row + row, where.column + column)
                found, tripped = self._source.read(driven[used].tolist())
                amperes[used, output] += np.array(found) - self._middle * driven[used]
                if tripped:
                    return amperes, True
        return amperes, False


def _levels(settings: Settings, volts_per_code: float) -> list[float]:
    """Return the volts of all levels; those of ways that are not armed are at rest."""
    return [
        rails[2] * volts_per_code if kind.ways & bit else 0.0
        for kind in settings.kinds
        for bit, rails in ((1, kind.up), (2, kind.down))
    ]


def _level(kind: int, up: bool) -> int:
    """Return the number of a level: 0 is rest."""
    return 2 * kind + (1 if up else 2)
