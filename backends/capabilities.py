"""What a chip can do, as frozen data: read from a TOML profile, validated once, never changed."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rpudriver.config.model import StrictModel, did_you_mean, parse, read_toml
from rpudriver.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]

PROFILES = Path(__file__).parent / "profiles"


class PulseKind(StrictModel):
    """What a kind of pulse (``update``, ``set``, ``reset``) is on the wire, and how strongly it acts."""

    volts_up: float  # across the device at a coincidence, potentiation
    volts_down: float  # the same, depression
    width_s: Positive
    polarity: Literal["both", "up", "down"] = "both"
    strength: Positive = 1.0  # mean step relative to an update pulse
    coincidence_energy_j: NonNegative = 0.0
    line_pulse_energy_j: NonNegative = 0.0


class Units(StrictModel):
    """What a normalised unit is on this chip."""

    siemens_per_unit: Positive  # conductance difference of a weight of 1
    volts_per_input: Positive  # line voltage of an input of 1


class Nominal(StrictModel):
    """The nominal device: what algorithms need to scale pulses, and what the conformance suite expects to measure."""

    dw_min: Annotated[float, Field(gt=0, description="mean step of one update pulse at the symmetry point")]
    w_min: Annotated[float, Field(lt=0)]
    w_max: Annotated[float, Field(gt=0)]
    c2c: NonNegative = 0.0  # spread of one step, in mean steps

    @property
    def n_states(self) -> float:
        """``(w_max - w_min) / dw_min``."""
        return (self.w_max - self.w_min) / self.dw_min


class Capabilities(StrictModel):
    """Everything an algorithm or the validation of a step may ask about a chip.

    Signals are normalised: an input of 1 is `units.volts_per_input`, an output of 1 is one unit of weight read with
    an input of 1.
    """

    rows: Annotated[int, Field(ge=1)]  # output lines of one physical array
    columns: Annotated[int, Field(ge=1)]  # input lines of one physical array
    arrays: Annotated[int, Field(ge=1)]
    input_bits: Annotated[int, Field(ge=2, le=24)] | None  # None: no converter
    output_bits: Annotated[int, Field(ge=2, le=24)] | None
    input_bound: Positive = 1.0
    output_bound: Positive | None = 12.0  # None: never saturates
    longest_bl: Annotated[int, Field(ge=1)]
    transposed_reads: bool
    summed_reads: bool
    parallel_pulses: bool = True  # all devices whose lines fire in a slot; else one after the other, a slot for each
    parallel_reads: bool = True  # a vector at once; else one device and input after the other, read_time_s for each
    output_noise: NonNegative = 0.0  # s_mv, standard deviation of one read, chip units
    read_time_s: NonNegative
    switch_time_s: NonNegative = 0.0  # to lead to another device, where pulses and reads have one at a time
    read_energy_j: NonNegative  # of one output line of one read
    slot_gap_s: NonNegative = 0.0  # pause between two slots of a train
    units: Units
    kinds: dict[str, PulseKind]
    device: Nominal

    @model_validator(mode="after")
    def _sound(self) -> "Capabilities":
        if "update" not in self.kinds:
            raise ValueError(f"kinds must include 'update'; got {sorted(self.kinds)}")
        if self.parallel_pulses and not self.parallel_reads:
            raise ValueError("parallel_pulses with reads one device at a time is not known of any chip: turn both off")
        if self.parallel_reads and self.switch_time_s:
            raise ValueError(f"switch_time_s = {self.switch_time_s:g} needs parallel_reads = false: else make it 0")
        return self


def profile_names() -> list[str]:
    """Return the names of the chip profiles that ship with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load_profile(name: str, nominal: Nominal, output_noise: float, overrides: dict[str, object]) -> Capabilities:
    """Return the capabilities of a shipped profile (by name) or of a TOML file (by path).

    Parameters
    ----------
    nominal, output_noise
        The device preset's part.
    overrides
        Keys of `Capabilities` that replace those of the profile, for example ``{"rows": 32, "columns": 32}``.
    """
    path = Path(name) if name.endswith(".toml") else PROFILES / f"{name}.toml"
    if not path.exists():
        raise ConfigError(f"no chip profile {name!r}" + did_you_mean(name, profile_names()))
    data = read_toml(path)
    data.pop("source", None)
    data |= {"device": nominal.model_dump(), "output_noise": output_noise} | overrides
    for key in ("input_bits", "output_bits", "output_bound"):
        if data.get(key) == 0:  # TOML has no null: 0 means no converter, no bound
            data[key] = None
    return parse(Capabilities, data, f"chip profile {name!r}")
