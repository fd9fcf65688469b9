"""What a simulated chip is opened with: a device preset, a chip profile and a seed."""

import hashlib
from typing import Annotated, Any

from pydantic import Field

from rpudriver.backends.capabilities import Capabilities, load_profile
from rpudriver.backends.simulated.devices.spec import Preset, load_preset
from rpudriver.config.model import StrictModel, parse


class SimulatorOptions(StrictModel):
    """Options of the backends ``simulated`` and ``reference``.

    Attributes
    ----------
    preset : name of a shipped device preset, or path of a TOML file.
    profile : name of a shipped chip profile, or path of a TOML file.
    seed : every device and every noise draw of the chip follows from it.
    device, read : keys that replace those of the preset, for example ``{"dw_min": 0.01}``.
    chip : keys that replace those of the profile, for example ``{"rows": 32, "columns": 32}``.
    torch_device : where the simulation runs (``simulated`` only).
    """

    preset: str = "rpu-asymmetric"
    profile: str = "standard"
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    device: dict[str, Any] = Field(default_factory=dict)
    read: dict[str, Any] = Field(default_factory=dict)
    chip: dict[str, Any] = Field(default_factory=dict)
    torch_device: str = "cpu"

    def load(self) -> tuple[Preset, Capabilities]:
        """Return the preset and the capabilities; raise `ConfigError` where either cannot be used."""
        preset = load_preset(self.preset, {"device": self.device, "read": self.read})
        return preset, load_profile(self.profile, preset.nominal(), preset.read.output_noise, self.chip)


def parse_options(name: str, options: dict[str, Any]) -> SimulatorOptions:
    """Return validated options of the backend `name`."""
    return parse(SimulatorOptions, options, f"backend {name!r}")


def fingerprint(name: str, options: SimulatorOptions, preset: Preset, capabilities: Capabilities) -> str:
    """Return what identifies a simulated chip: two chips of one fingerprint behave alike, draw by draw."""
    text = preset.model_dump_json(exclude={"source"}) + capabilities.model_dump_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{name} {options.preset} on {options.profile}, seed {options.seed} ({digest})"
