"""Who answers at the end of the cable: the reply to HELLO, and what in it does not fit a chip profile."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar, Self, final

from rpudriver.backends.hardware.driver import Settings
from rpudriver.backends.hardware.profile import ChipProfile
from rpudriver.backends.hardware.serial.frames import MAJOR, MINOR
from rpudriver.backends.validation import Limits
from rpudriver.errors import BoardError

REQUEST = struct.Struct("<BBxxI")  # major, minor, nonce
_SLACK = 1 + 1e-9  # a quotient of two decimal fractions may miss the whole number that it is


@final
class Capability(IntFlag):
    """What a board can do beyond the plain."""

    TRANSPOSED = 1
    DIFFERENTIAL = 2
    DRAWN = 4
    GATES = 8
    FLOATING = 16


@final
class State(IntEnum):
    """States of a board."""

    IDLE = 0
    ARMED = 1
    SAFE = 2


@final
@dataclass(frozen=True)
class Hello:
    """The reply to HELLO; names, units and limits as in ``docs/protocol.md``."""

    nonce: int
    major: int
    minor: int
    state: int
    reason: int
    boot: int
    last_seq: int
    last_crc: int
    limits_crc: int
    firmware: bytes
    chip: str
    arrays: int
    rows: int
    columns: int
    input_bits: int
    output_bits: int
    capabilities: Capability
    max_request: int
    max_reply: int
    max_line: int
    max_cell: int
    max_half: int
    max_gate: int
    max_input: int
    max_compliance: int
    min_width_ns: int
    max_width_ns: int
    max_gap_ns: int
    max_bl: int
    max_watchdog_ms: int
    max_run_us: int
    pulses: int

    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IBBBBIIII8s16sHHHBBIIIhhhhhHIIIHHIQ")

    @classmethod
    def unpack(cls, payload: bytes) -> Self | None:
        """Return the reply, None where this is none."""
        if len(payload) < cls.LAYOUT.size:  # a later minor version may say more
            return None
        values = list(cls.LAYOUT.unpack_from(payload))
        values[10] = values[10].rstrip(b"\0").decode("ascii", "replace")
        values[16] = Capability(values[16])
        return cls(*values)

    @property
    def armed(self) -> bool:
        """Whether operations would be done."""
        return self.state == State.ARMED


def request(nonce: int) -> bytes:
    """Return the payload of HELLO."""
    return REQUEST.pack(MAJOR, MINOR, nonce)


def check_version(major: int) -> None:
    """Refuse another major version of the protocol."""
    if major != MAJOR:
        raise BoardError(
            f"the board speaks version {major} of the protocol, this driver version {MAJOR}: it can be idled, not "
            "armed; install a driver or firmware of the same major version"
        )


def check_profile(board: Hello, profile: ChipProfile) -> None:
    """Refuse a board that is not what a profile says.

    Raises
    ------
    BoardError
        With everything that does not fit.
    """
    if board.chip != profile.chip:
        raise BoardError(
            f"the board holds the chip {board.chip!r}, the profile is of {profile.chip!r}: "
            "connect to the other board or choose the profile of this chip"
        )
    profile.check_firmware(board.firmware.hex())
    problems = [*_misfits(board, profile), *_missing(board, profile), *_wider(board, profile)]
    if problems:
        raise BoardError(
            f"the profile of {profile.chip!r} does not fit the board (nothing was changed there):\n  "
            + "\n  ".join(problems)
        )


def _misfits(board: Hello, profile: ChipProfile) -> Iterator[str]:
    """What must be the same on both sides."""
    for name, ours, theirs in (
        ("rows", profile.rows, board.rows),
        ("columns", profile.columns, board.columns),
        ("converters.input_bits", profile.converters.input_bits, board.input_bits),
        ("converters.output_bits", profile.converters.output_bits, board.output_bits),
    ):
        if ours != theirs:
            yield f"{name} = {ours}, the board has {theirs}: correct the profile"
    if profile.arrays > board.arrays:
        yield f"arrays = {profile.arrays}, the board has {board.arrays}: correct the profile"


def _missing(board: Hello, profile: ChipProfile) -> Iterator[str]:
    """What the profile counts on."""
    if profile.transposed_reads and Capability.TRANSPOSED not in board.capabilities:
        yield "transposed_reads = true, the board cannot: set it to false (training then reads a digital copy)"
    gates = any(kind.gate_volts for kind in profile.kinds.values())
    if gates and Capability.GATES not in board.capabilities:
        yield "kinds with gate_volts above 0, the board has no gate lines: remove them"
    if profile.floating and Capability.FLOATING not in board.capabilities:
        yield 'biasing = "floating", the board cannot let lines float: choose v/2 or v/3'


@final
@dataclass(frozen=True)
class _Bound:
    """A limit of the profile beside the firmware's: `ours` and `theirs` in codes, `unit` what a code is."""

    name: str
    ours: float
    theirs: int
    unit: float
    symbol: str

    def problem(self) -> str | None:
        """Return what is wrong, None where the firmware allows as much."""
        if self.ours <= self.theirs * _SLACK:
            return None
        return (
            f"{self.name} = {self.ours * self.unit:.6g} {self.symbol} is more than the board's firmware allows, "
            f"{self.theirs * self.unit:.6g} {self.symbol} (code {self.theirs}): lower it in the profile, or build the "
            "firmware with wider limits if the chip bears it"
        )


def _wider(board: Hello, profile: ChipProfile) -> Iterator[str]:
    """What the profile would allow and the firmware does not."""
    bounds = [*_envelope_bounds(board, profile), *_settings_bounds(board, profile.settings(Limits()))]
    for bound in bounds:
        if (problem := bound.problem()) is not None:
            yield problem
    for name, kind in profile.kinds.items():
        if round(kind.width_s * 1e9) < board.min_width_ns:
            yield (
                f"kinds.{name}.width_s = {kind.width_s:g} s is less than the shortest pulse of the board, "
                f"{board.min_width_ns * 1e-9:g} s: lengthen it"
            )


def _envelope_bounds(board: Hello, profile: ChipProfile) -> list[_Bound]:
    e, c = profile.envelope, profile.converters
    rail, second = c.volts_per_rail_code, 1e-9
    return [
        _Bound("envelope.line_volts", e.line_volts / rail, board.max_line, rail, "V"),
        _Bound("envelope.cell_volts", e.cell_volts / rail, board.max_cell, rail, "V"),
        _Bound("envelope.half_volts", e.half_volts / rail, board.max_half, rail, "V"),
        _Bound("envelope.gate_volts", e.gate_volts / c.volts_per_gate_code, board.max_gate, c.volts_per_gate_code, "V"),
        _Bound("envelope.width_s", e.width_s / second, board.max_width_ns, second, "s"),
        _Bound(
            "envelope.compliance_a",
            e.compliance_a / c.amperes_per_compliance_code,
            board.max_compliance,
            c.amperes_per_compliance_code,
            "A",
        ),
        _Bound("envelope.batch_s", e.batch_s / 1e-6, board.max_run_us, 1e-6, "s"),
        _Bound("read volts", profile.input_codes, board.max_input, c.volts_per_input_code, "V"),
        _Bound("timing.slot_gap_s", profile.timing.slot_gap_s / second, board.max_gap_ns, second, "s"),
        _Bound("timing.watchdog_s", profile.timing.watchdog_s / 1e-3, board.max_watchdog_ms, 1e-3, "s"),
        _Bound("longest_bl", profile.longest_bl, board.max_bl, 1, "slots"),
    ]


def _settings_bounds(board: Hello, settings: Settings) -> list[_Bound]:
    """Rails as they are armed, rounded to codes."""
    found = []
    for number, kind in enumerate(settings.kinds):
        up, down = kind.most_half
        for way, bit, rails, half in (("up", 1, kind.up, up), ("down", 2, kind.down, down)):
            if not kind.ways & bit:
                continue
            row, _, column, _ = rails
            name = f"kind {number}, {way}"
            found += [
                _Bound(f"{name}, code of a rail", max(map(abs, rails)), board.max_line, 1, "codes"),
                _Bound(f"{name}, code across a device", abs(row - column), board.max_cell, 1, "codes"),
                _Bound(f"{name}, code across half-selected devices", half, board.max_half, 1, "codes"),
            ]
    return found
