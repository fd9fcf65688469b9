"""A device and its array's read noise, as validated data; presets are TOML files of this model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from rpudriver.backends.capabilities import Nominal
from rpudriver.backends.simulated.devices.constant import ConstantStep
from rpudriver.backends.simulated.devices.exponential import Exponential
from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.devices.power import Power
from rpudriver.backends.simulated.devices.response import Parameter, Response
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.config.model import StrictModel, did_you_mean, parse, read_toml
from rpudriver.errors import ConfigError

MOST_STATES = 1e7  # more than any device; pulse counts that cross the range stay small integers
PRESETS = Path(__file__).parent.parent / "presets"

RESPONSES: dict[str, type[Response]] = {
    "constant": ConstantStep,
    "soft-bounds": SoftBounds,
    "power": Power,
    "exponential": Exponential,
    "measured": Measured,
}


def register_response(family: str, response: type[Response]) -> None:
    """Make a response of your own known under a family name, for presets and overrides."""
    known = RESPONSES.setdefault(family, response)
    if known is not response:
        raise ConfigError(f"response family {family!r} is taken by {known.__name__}; choose another name")


class Stuck(StrictModel):
    """Dead devices: a share of them, drawn once, stays at `value` (clipped to the device's own bounds)."""

    fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    value: float = 0.0


class Device(StrictModel):
    """One device: how far a pulse moves it, and how that varies.

    A pulse moves the hidden state by ``dw * (1 +- u) * (q(w) + s * xi)`` up or down, ``s^2 = (c2c q)^2 +
    c2c_additive^2 + spread^2``, and clips it to the device's own bounds; the read state is the hidden one plus write
    noise, drawn anew for every sample that pulses the device.
    """

    response: SerializeAsAny[Response]
    dw_min: Parameter
    w_max: Parameter
    w_min: Parameter
    up_down: float = 0.0  # u, mean imbalance of up and down strength
    up_down_d2d: Annotated[float, Field(ge=0)] = 0.0  # absolute
    c2c: Annotated[float, Field(ge=0)] = 0.0  # multiplicative: in steps of the device
    c2c_additive: Annotated[float, Field(ge=0)] = 0.0  # in dw_min, whatever the weight
    write_noise: Annotated[float, Field(ge=0)] = 0.0  # in dw_min, between hidden and read state
    stuck: Stuck = Stuck()

    @field_validator("response", mode="before")
    @classmethod
    def _family(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        family = value.get("family")
        if family not in RESPONSES:
            raise ValueError(f"unknown response family {family!r}" + did_you_mean(str(family), RESPONSES))
        response = RESPONSES[str(family)]
        for key in value.keys() - response.model_fields.keys():
            raise ValueError(f"unknown key {key!r} of a {family} response" + did_you_mean(key, response.model_fields))
        return response.model_validate(dict(value))

    @model_validator(mode="after")
    def _sound(self) -> "Device":
        if self.dw_min.mean <= 0:
            raise ValueError(f"dw_min = {self.dw_min.mean} must be above 0: it is the step of one pulse")
        if not self.w_min.mean < 0 < self.w_max.mean:
            raise ValueError(f"bounds must satisfy w_min < 0 < w_max; got {self.w_min.mean}, {self.w_max.mean}")
        if not -1 < self.up_down < 1:
            raise ValueError(f"up_down = {self.up_down} must lie in (-1, 1): strengths are 1 + u and 1 - u")
        if self.n_states < 2:
            raise ValueError(
                f"{self.n_states:.3g} states between {self.w_min.mean} and {self.w_max.mean}: at least 2 are needed; "
                f"lower dw_min = {self.dw_min.mean} or widen the bounds"
            )
        if self.n_states > MOST_STATES:
            raise ValueError(
                f"{self.n_states:.3g} states between {self.w_min.mean} and {self.w_max.mean}: at most {MOST_STATES:g} "
                f"are possible; raise dw_min = {self.dw_min.mean} or narrow the bounds"
            )
        return self

    @property
    def n_states(self) -> float:
        """``(w_max - w_min) / dw_min`` of the mean device."""
        return (self.w_max.mean - self.w_min.mean) / self.dw_min.mean


class ReadNoise(StrictModel):
    """Noise of reading: none of it disturbs a device."""

    output_noise: Annotated[float, Field(ge=0)] = 0.0  # s_mv: on each output
    input_noise: Annotated[float, Field(ge=0)] = 0.0  # on each input, after its converter
    weight_noise: Annotated[float, Field(ge=0)] = 0.0  # on each weight, fresh for every vector


class Preset(StrictModel):
    """A device and the read noise of its array, with the source of the numbers."""

    source: str
    device: Device
    read: ReadNoise = ReadNoise()

    def nominal(self) -> Nominal:
        """Return what algorithms are told of this device."""
        device = self.device
        spread = (device.c2c**2 + device.c2c_additive**2) ** 0.5
        return Nominal(dw_min=device.dw_min.mean, w_min=device.w_min.mean, w_max=device.w_max.mean, c2c=spread)


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Return a preset by name, or from a TOML file by path, with some keys replaced.

    Parameters
    ----------
    overrides
        Nested keys that replace those of the file, for example ``{"device": {"dw_min": 0.01}}``.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.exists():
        raise ConfigError(f"no device preset {name!r}" + did_you_mean(name, preset_names()))
    return parse(Preset, merge(read_toml(path), overrides or {}), f"device preset {name!r}")


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables with some keys replaced; a response of another family replaces the whole table."""
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(old, Mapping)
        if nested and value.get("family", old.get("family")) == old.get("family"):  # type: ignore[union-attr]
            merged[key] = merge(old, value)  # type: ignore[arg-type]
        else:
            merged[key] = value
    return merged
