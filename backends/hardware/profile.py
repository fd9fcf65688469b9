"""A chip and its board in volts, amperes and nanoseconds: the profile, a TOML file that says what a code is.

Volts exist here and below only. What the profile allows is what its owner wants: the board's firmware has limits of its
own, and a profile that is wider than those is refused when the board says so.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rpudriver.backends.capabilities import Capabilities, Nominal, NonNegative, Positive, PulseKind, Units
from rpudriver.backends.hardware.arc2 import wiring
from rpudriver.backends.hardware.driver import KindCodes, Settings
from rpudriver.backends.validation import Limits
from rpudriver.config.model import StrictModel, did_you_mean, parse, read_toml
from rpudriver.errors import BoardError, ConfigError

CHIPS = Path(__file__).parent / "chips"
APERTURES = 2e-4, 0.16  # 0.01 to 10 line cycles, of 50 Hz and of 60 Hz
WAYS = {"up": 1, "down": 2, "both": 3}

# Rails in parts of the volts across a selected device: (row active, row rest, column active, column rest).
# V/2: half-selected devices see half, others nothing. V/3: all others see a third. With a transistor in each cell the
# columns carry all of the volts, and only the rows whose gates are open conduct. Floating: what is not active is
# connected to nothing, and other devices see what the conductances make of it, all of the volts at worst.
SCHEMES: dict[str, tuple[float, float, float, float]] = {
    "v/2": (1 / 2, 0.0, -1 / 2, 0.0),
    "v/3": (1.0, 1 / 3, 0.0, 2 / 3),
    "1t1r": (0.0, 0.0, -1.0, 0.0),
    "floating": (1 / 2, 0.0, -1 / 2, 0.0),
}


class Converters(StrictModel):
    """What codes are on this board."""

    input_bits: Annotated[int, Field(ge=2, le=16)]  # of the converters that read voltages come from
    output_bits: Annotated[int, Field(ge=2, le=16)]
    volts_per_rail_code: Positive
    volts_per_input_code: Positive
    volts_per_gate_code: Positive = 1e-3
    amperes_full_scale: Positive  # of an output converter's largest code
    amperes_per_compliance_code: Positive = 1e-6


class Timing(StrictModel):
    """How long things take, on the chip and on the board."""

    read_s: Positive  # one vector
    slot_gap_s: NonNegative = 0.0
    watchdog_s: Annotated[float, Field(ge=0.02, le=60)] = 0.5  # of silence, after which an armed board goes safe


class Kind(StrictModel):
    """A kind of pulse: volts across a selected device, and how strongly it acts."""

    volts_up: Annotated[float, Field(ge=0)]
    volts_down: Annotated[float, Field(le=0)]
    width_s: Positive
    polarity: Literal["both", "up", "down"] = "both"
    strength: Positive = 1.0
    gate_volts: NonNegative = 0.0
    coincidence_energy_j: NonNegative = 0.0
    line_pulse_energy_j: NonNegative = 0.0


class Envelope(StrictModel):
    """What this chip must never see more of."""

    line_volts: Positive  # on any line, against ground
    cell_volts: Positive  # across a selected device
    half_volts: Positive  # across a device of which one line or none is selected
    gate_volts: NonNegative = 0.0
    read_volts: Positive
    width_s: Positive
    compliance_a: Positive
    batch_energy_j: Positive  # of all pulses of one sequence of steps
    batch_s: Positive  # duration of one frame on the board
    device_pulses: Annotated[int, Field(ge=1)]  # endurance: in the life of a device


class Bench(StrictModel):
    """How a chip lies on a bench of instruments; see ``docs/bench.md``."""

    middle_siemens: Positive  # of a device at weight 0; the driver takes it off
    source_row: Annotated[int, Field(ge=1, le=6)]  # of the matrix cards: where the source-measure unit is
    gate_row: Annotated[int, Field(ge=1, le=6)]
    switch_s: NonNegative = 8e-3  # to lead to another device: 4 ms to open, 4 ms to close, a guess for latching relays


class ChipProfile(StrictModel):
    """A chip on a board; see the files in ``chips/`` for examples with reasons."""

    source: str
    chip: Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x7e]+$")]  # the board says who it is
    firmware: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None  # no other is used; None: any
    rows: Annotated[int, Field(ge=1, le=4096)]
    columns: Annotated[int, Field(ge=1, le=4096)]
    arrays: Annotated[int, Field(ge=1, le=255)]
    longest_bl: Annotated[int, Field(ge=1, le=65535)]
    transposed_reads: bool
    biasing: Literal["v/2", "v/3", "1t1r", "floating"]
    siemens_per_unit: Positive
    output_noise: NonNegative = 0.0  # s_mv of one read, chip units
    read_energy_j: NonNegative = 0.0
    converters: Converters
    timing: Timing
    kinds: Annotated[dict[str, Kind], Field(max_length=16)]
    envelope: Envelope
    device: Nominal
    arc2: wiring.Wiring | None = None  # for chips on ArC TWO
    bench: Bench | None = None

    @model_validator(mode="after")
    def _inside_its_envelope(self) -> "ChipProfile":
        if self.firmware is not None and self.bench is not None:
            raise ValueError("firmware is that of a board or of ArC TWO, not of a bench: remove the key")
        for problem in (*self._problems(), *self._arc2_problems(), *self._bench_problems()):
            raise ValueError(problem)
        return self

    def _problems(self) -> list[str]:
        """Return what goes beyond the envelope, in words."""
        e = self.envelope
        found = [("read volts (units and input converter)", self.read_volts, e.read_volts)]
        for name, kind in self.kinds.items():
            row, row_rest, column, column_rest = SCHEMES[self.biasing]
            found.append((f"kinds.{name}.width_s", kind.width_s, e.width_s))
            found.append((f"kinds.{name}.gate_volts", kind.gate_volts, e.gate_volts))
            if self.biasing == "1t1r" and not kind.gate_volts:
                return [f"kinds.{name}.gate_volts = 0 with biasing 1t1r: give the volts that open a row's transistors"]
            if self.floating and kind.gate_volts:
                return [f"kinds.{name}.gate_volts = {kind.gate_volts:g} with biasing floating: choose 1t1r"]
            for way, volts in (("volts_up", kind.volts_up), ("volts_down", -kind.volts_down)):
                where = f"kinds.{name}.{way} with biasing {self.biasing}"
                line = max(abs(row), abs(row_rest), abs(column), abs(column_rest)) * volts
                others = max(abs(row - column_rest), abs(row_rest - column), abs(row_rest - column_rest)) * volts
                if self.biasing == "1t1r":  # rows that are not selected do not conduct
                    others = abs(row - column_rest) * volts
                if self.floating:  # their potentials lie anywhere between those of the driven lines
                    others = volts
                found += [
                    (f"{where}, across a device", volts, e.cell_volts),
                    (f"{where}, on a line", line, e.line_volts),
                ]
                found.append((f"{where}, across half-selected devices", others, e.half_volts))
        slack = 1 + 1e-9  # halves and thirds of a limit are not exact in binary
        return [
            f"{what} = {value:g} is beyond the envelope's {most:g}; lower it, or widen [envelope] if the chip bears it"
            for what, value, most in found
            if value > most * slack
        ]

    def _arc2_problems(self) -> Iterator[str]:
        """Yield what ArC TWO cannot do, in words."""
        if self.arc2 is None:
            return
        yield from self.arc2.problems(self.rows, self.columns)
        if self.arrays != 1 or self.biasing not in ("v/2", "v/3"):
            yield f"arc2: {self.arrays} arrays with biasing {self.biasing}; it serves one array, with v/2 or v/3"
        if self.envelope.line_volts > wiring.LARGEST_VOLTS:
            yield f"envelope.line_volts = {self.envelope.line_volts:g}; ArC TWO has {wiring.LARGEST_VOLTS:g} V at most"
        for name, kind in self.kinds.items():
            if not wiring.SHORTEST_NS <= round(kind.width_s * 1e9) <= wiring.LONGEST_NS:
                yield f"kinds.{name}.width_s = {kind.width_s:g}; ArC TWO pulses for 40e-9 .. 0.5 s"

    def _bench_problems(self) -> Iterator[str]:
        """Yield what the instruments of a bench cannot do, in words."""
        shortest, longest = APERTURES
        if self.bench is not None and not shortest <= self.timing.read_s <= longest:
            found = self.timing.read_s
            yield f"timing.read_s = {found:g}; the aperture of a 2450 is {shortest:g} .. {longest:g} s on any mains"

    def check_firmware(self, found: str) -> None:
        """Refuse an instrument whose firmware is not the one that the profile names.

        Raises
        ------
        BoardError
        """
        if self.firmware not in (None, found):
            raise BoardError(
                f"the firmware is {found}, the profile of {self.chip!r} names {self.firmware}: load that one, or try "
                "the new one without a chip, then change the profile"
            )

    @property
    def floating(self) -> bool:
        """Whether lines that are not active float."""
        return self.biasing == "floating"

    @property
    def parallel_pulses(self) -> bool:
        """Whether a slot pulses all devices whose lines fire in it at once."""
        return not self.floating and self.bench is None

    @property
    def read_volts(self) -> float:
        """Volts of the largest input."""
        return self.converters.volts_per_input_code * self.input_codes

    @property
    def input_codes(self) -> int:
        """Largest input code; it stands for an input of 1."""
        return int(2 ** (self.converters.input_bits - 1) - 1)

    @property
    def output_codes(self) -> int:
        """Largest output code."""
        return int(2 ** (self.converters.output_bits - 1) - 1)

    @property
    def output_bound(self) -> float:
        """Full scale of the output converter in chip units."""
        bound = self.converters.amperes_full_scale / (self.siemens_per_unit * self.read_volts)
        return float(f"{bound:.12g}")  # 12, not 11.999999999999998

    def digest(self) -> str:
        """Return what identifies the profile in journals and snapshots."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def kind_names(self) -> list[str]:
        """Return the names of the kinds in the order of their numbers."""
        return sorted(self.kinds)

    def capabilities(self) -> Capabilities:
        """Return what algorithms may know of the chip."""
        return Capabilities(
            rows=self.rows,
            columns=self.columns,
            arrays=self.arrays,
            input_bits=self.converters.input_bits,
            output_bits=self.converters.output_bits,
            input_bound=1.0,
            output_bound=self.output_bound,
            longest_bl=self.longest_bl,
            transposed_reads=self.transposed_reads,
            summed_reads=False,  # sums are made on the host, one read for each array
            parallel_pulses=self.parallel_pulses,
            parallel_reads=self.bench is None,
            output_noise=self.output_noise,
            read_time_s=self.timing.read_s,
            switch_time_s=self.bench.switch_s if self.bench else 0.0,
            read_energy_j=self.read_energy_j,
            slot_gap_s=self.timing.slot_gap_s,
            units=Units(siemens_per_unit=self.siemens_per_unit, volts_per_input=self.read_volts),
            kinds={name: PulseKind(**kind.model_dump(exclude={"gate_volts"})) for name, kind in self.kinds.items()},
            device=self.device,
        )

    def settings(self, limits: Limits) -> Settings:
        """Return what a board is armed with under some limits; kinds that are not armed go no way."""
        c = self.converters
        longest, largest = limits.within(self.capabilities())
        return Settings(
            kinds=tuple(self._codes(name, limits.kinds) for name in self.kind_names()),
            max_input=round(largest * self.input_codes),
            max_bl=longest,
            compliance=int(self.envelope.compliance_a / c.amperes_per_compliance_code * (1 + 1e-9)),
            read_us=max(1, round(self.timing.read_s * 1e6)),
            max_run_us=int(self.envelope.batch_s * 1e6 * (1 + 1e-9)),
            watchdog_ms=round(self.timing.watchdog_s * 1e3),
        )

    def _codes(self, name: str, armed: frozenset[str] | None) -> KindCodes:
        kind, c = self.kinds[name], self.converters

        def rails(volts: float) -> tuple[int, int, int, int]:
            row, row_rest, column, column_rest = (
                round(part * volts / c.volts_per_rail_code) for part in SCHEMES[self.biasing]
            )
            return row, row_rest, column, column_rest

        return KindCodes(
            up=rails(kind.volts_up),
            down=rails(kind.volts_down),
            gate=round(kind.gate_volts / c.volts_per_gate_code),
            ways=WAYS[kind.polarity] if armed is None or name in armed else 0,
            width_ns=round(kind.width_s * 1e9),
            gap_ns=round(self.timing.slot_gap_s * 1e9),
            floating=self.floating,
        )


def chip_names() -> list[str]:
    """Return the names of the chip profiles that ship with the package."""
    return sorted(path.stem for path in CHIPS.glob("*.toml"))


def chip_path(name: str) -> Path:
    """Return where a shipped chip profile (by name) or one of the user's (by path) is, or would be."""
    return Path(name) if name.endswith(".toml") else CHIPS / f"{name}.toml"


def load_chip(name: str) -> ChipProfile:
    """Return a shipped chip profile (by name) or one from a TOML file (by path).

    Raises
    ------
    ConfigError
        If there is none, or if it contradicts itself: kinds beyond its envelope, say.
    """
    path = chip_path(name)
    if not path.exists():
        raise ConfigError(f"no chip {name!r}" + did_you_mean(name, chip_names()))
    return parse(ChipProfile, read_toml(path), f"chip {name!r}")
