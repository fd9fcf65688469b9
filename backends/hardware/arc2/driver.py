"""ArC TWO as a `Driver`: the voltage guard before, the child process around, and nothing repeated."""

import hashlib
import secrets
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from rpudriver.backends.hardware.arc2.guard import SLACK, Guard
from rpudriver.backends.hardware.arc2.link import Child
from rpudriver.backends.hardware.arc2.program import Translator, duration_s
from rpudriver.backends.hardware.driver import Driver, Fate, Identity, KindCodes, Reply, Settings, Ticket
from rpudriver.backends.hardware.operations import decode
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.errors import BackendError, BoardError, ConfigError, LinkLostError, NotArmedError

OPEN_S = 30.0  # to load the firmware
VERSION = "0.6."  # of the library: what this was written and tested against
LARGEST = 1 << 16  # bytes of a batch: there is no limit but memory; this keeps a batch to seconds


@final
class Arc2Driver(Driver):
    """One ArC TWO, protocol-tested: written against the library's API and a recording double, never seen by hardware.

    The instrument has no watchdog, no comparator and no counters: each batch ends at 0 V, currents while pulsing are
    not limited, and pulses are counted by the journal alone.

    Parameters
    ----------
    profile : of a chip with a table ``[arc2]``.
    firmware : Path
        File of the board's firmware, which comes with it; loaded when the driver is armed.
    port : number of the instrument, as ``pyarc2.find_ids()`` lists them.
    timeout_s : how much longer than its pulses and reads a batch may take before the child is killed.
    library : module that is imported in the child process.

    Raises
    ------
    ConfigError
        If the profile has no ``[arc2]`` or there is no such file.
    """

    def __init__(
        self, profile: ChipProfile, firmware: Path, port: int = 0, timeout_s: float = 5.0, library: str = "pyarc2"
    ) -> None:
        if profile.arc2 is None:
            raise ConfigError(f"chip {profile.chip!r} has no table [arc2] that says how it is wired; add one")
        if not firmware.is_file():
            raise ConfigError(f"firmware {str(firmware)!r} is not there; give the file that came with the instrument")
        self._profile, self._firmware, self._port = profile, firmware, port
        self._timeout_s, self._library = timeout_s, library
        envelope = profile.envelope
        self._guard = Guard(
            wiring=profile.arc2,
            line_volts=envelope.line_volts,
            cell_volts=envelope.cell_volts,
            half_volts=envelope.half_volts,
            read_volts=envelope.read_volts,
            width_ns=round(envelope.width_s * 1e9),
            total_ns=0,
        )
        self._child: Child | None = None
        self._opened = False
        self._session, self._last, self._reply = 0, 0, b""
        self._translator: Translator | None = None

    def connect(self) -> Identity:
        """See `Driver.connect`. Starts the child process and looks for the instrument; does not open it."""
        digest = hashlib.sha256(self._firmware.read_bytes()).hexdigest()[:16]
        self._profile.check_firmware(digest)
        version = self._start()
        return Identity(
            chip=self._profile.chip,  # the instrument cannot tell what is in its socket
            firmware=f"libarc2 {version}, firmware {digest}",
            session=self._session,
            armed=False,
            reason="start",
            pulses=None,
        )

    @property
    def largest(self) -> tuple[int, int]:
        """See `Driver.largest`."""
        return LARGEST, LARGEST

    @property
    def child(self) -> Child | None:
        """The process that the library lives in, None before `connect` and after it failed."""
        return self._child

    def arm(self, settings: Settings) -> None:
        """See `Driver.arm`. Opens the instrument where that has not happened: its firmware puts channels to 0 V."""
        for number, kind in enumerate(settings.kinds):
            self._check_kind(number, kind)
        self._open()
        self._guard = replace(self._guard, total_ns=settings.max_run_us * 1000)
        self._translator = Translator(self._profile, settings)

    def stamp(self, operations: bytes) -> Ticket:
        """See `Driver.stamp`."""
        return Ticket(self._session, self._last + 1, zlib.crc32(operations))

    def run(self, ticket: Ticket, operations: bytes) -> Reply:
        """See `Driver.run`."""
        if self._translator is None:
            raise NotArmedError("ArC TWO is not armed; arm it first, nothing was sent")
        if ticket != self.stamp(operations):
            raise BoardError(f"batch {ticket.seq} of session {ticket.session} is not the next one; nothing was sent")
        translator, steps = self._translator, decode(operations, self._profile.converters.input_bits)
        program = translator.program(steps)
        self._guard.check(program)
        self._last, self._reply = ticket.seq, b""  # from here on it may have been done
        try:
            currents = self._ask("run", program, limit_s=duration_s(program) + self._timeout_s)
            self._reply = translator.records(steps, currents)
        except BackendError:
            self._drop()
            raise
        return Reply(self._reply)

    def settle(self, ticket: Ticket, operations: bytes) -> Reply | Fate:
        """See `Driver.settle`: the instrument keeps no account, so this tells only what this process knows."""
        if ticket.session != self._session:
            return Fate.UNKNOWN
        if ticket == self.stamp(operations):
            return Fate.NOT_DONE
        return Reply(self._reply) if ticket.seq == self._last and self._reply else Fate.UNKNOWN

    def idle(self) -> None:
        """See `Driver.idle`. A new instance of the library puts channels to 0 V where the old one cannot."""
        self._translator = None
        if self._child is not None and self._opened:
            try:
                self._ask("rest", limit_s=self._timeout_s)
                return
            except BackendError:
                self._drop()
        self._open()

    def close(self) -> None:
        """See `Driver.close`."""
        child, self._child = self._child, None
        self._translator, self._opened = None, False
        if child is not None:
            child.release(self._timeout_s)

    def _start(self) -> str:
        """Start a child process, look for the instrument, and return the library's version: a new session."""
        self.close()
        self._child = Child(self._library)
        version, ports = self._ask("who", limit_s=self._timeout_s)
        if not str(version).startswith(VERSION):
            self.close()
            raise BoardError(
                f"{self._library} is version {version}, this was written for {VERSION}x, and calls may have changed; "
                "install that with: pip install 'rpudriver[arc2]'"
            )
        if self._port not in ports:
            self.close()
            known = ", ".join(map(str, ports)) or "none"
            raise BoardError(f"no ArC TWO on port {self._port} (found: {known}); check cable, power and permissions")
        self._session, self._last, self._reply = secrets.randbits(32) | 1, 0, b""
        return str(version)

    def _open(self) -> None:
        if self._child is None:
            self._start()
        if not self._opened:
            self._ask("open", self._port, str(self._firmware), limit_s=OPEN_S)
            self._opened = True

    def _ask(self, *request: Any, limit_s: float) -> Any:
        if self._child is None:
            raise LinkLostError("ArC TWO is not connected; connect first")
        try:
            return self._child.ask(*request, limit_s=limit_s)
        except BackendError:
            self._drop()
            raise

    def _drop(self) -> None:
        """Discard the library's instance, whatever it has queued; the driver is disarmed."""
        if self._child is not None:
            self._child.kill()
        self._child, self._translator, self._opened = None, None, False

    def _check_kind(self, number: int, kind: KindCodes) -> None:
        """Raise `BoardError` where a kind of pulse is beyond the envelope; rails are rounded to whole codes."""
        envelope, volts = self._profile.envelope, self._profile.converters.volts_per_rail_code
        for bit, (row, row_rest, column, column_rest) in ((1, kind.up), (2, kind.down)):
            if not kind.ways & bit:
                continue
            half = max(abs(row - column_rest), abs(row_rest - column), abs(row_rest - column_rest))
            line = max(map(abs, (row, row_rest, column, column_rest)))
            for what, codes, most, slack in (
                ("a line", line, envelope.line_volts, 0),
                ("a device", abs(row - column), envelope.cell_volts, 1),
                ("a half-selected device", half, envelope.half_volts, 1),
            ):
                if (codes - slack) * volts > most + SLACK:
                    raise BoardError(f"pulse kind {number}: {codes * volts:g} V on {what} is beyond {most:g} V")
