"""What a run is: one frozen model, read from a TOML file with overrides, refused where a key is unknown."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.config.model import StrictModel, did_you_mean, parse, read_toml
from rpudriver.config.overrides import apply_overrides
from rpudriver.config.toml import dump_toml
from rpudriver.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, lt=2**63)]  # TOML integers have 64 bits with sign
Width = Annotated[int, Field(ge=1, le=2**16)]  # a slip of the pen does not fill the memory
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Digital(StrictModel):
    """Plain SGD in floating point, without a chip: what the analog algorithms are compared with."""

    name: Literal["digital"] = "digital"


class DataSection(StrictModel):
    """The data set; where its files are is not part of a run (``--data``, ``RPUDRIVER_DATA``)."""

    name: Literal["digits", "mnist"] = "digits"
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2  # of digits; MNIST brings its own test set
    split_seed: Seed = 0  # apart from the run's seed, so that runs of several seeds share one test set


class NetworkSection(StrictModel):
    """A fully connected network."""

    layers: Annotated[tuple[Width, ...], Field(min_length=2)] = (64, 32, 10)  # inputs, hidden units, classes
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    bias: Literal["analog", "digital", "none"] = "analog"  # analog: one more column of the array, as in the papers


class ScalingSection(StrictModel):
    """How weights map onto conductances; see `rpudriver.nn.AnalogLinear`."""

    weight_range: Annotated[float, Field(gt=0, le=1)] = 0.6  # share of the bound that the largest initial weight takes
    columnwise: bool = False
    learnable: bool = False


class ZeroShiftSection(StrictModel):
    """How arrays are zero-shifted whose symmetry point must read as zero (A of Tiki-Taka and TTv2)."""

    method: Literal["alternating", "response", "none"] = "alternating"
    pulses: Count | None = None  # most for each device; left out: four a state (alternating), two a state (response)
    reads: Annotated[int, Field(ge=0)] | None = None  # alternating; left out: 32 where points are digital, else none
    precision: Annotated[float, Field(gt=0, le=1)] = 0.015  # response: wanted standard error, in w_max - w_min


class TrainingSection(StrictModel):
    """The loop: cross-entropy on mini-batches."""

    epochs: Count = 40
    batch: Count = 8
    lr: Positive = 0.1
    digital_lr: Positive | None = None  # of parameters that stay digital; left out: the same as lr
    halve_every: Annotated[int, Field(ge=0)] = 0  # epochs after which both rates are halved, again and again; 0: never
    backward: Literal["transposed", "shadow"] = "transposed"  # reads of the chip, or a digital copy of its weights
    shadow_every: Count | None = None  # mini-batches after which the copy is read anew; left out: 10

    @model_validator(mode="after")
    def _has_a_shadow(self) -> Self:
        if self.shadow_every is not None and self.backward != "shadow":
            raise ValueError(
                f"shadow_every = {self.shadow_every} goes with backward = 'shadow'; set that too, or leave it out"
            )
        return self

    def rate_factor(self, epoch: int) -> float:
        """Return what both rates are multiplied by in an epoch, counted from 0."""
        return 0.5 ** (epoch // self.halve_every) if self.halve_every else 1.0


class AverageSection(StrictModel):
    """Model average while training: sparse reads of the weights; see `rpudriver.calibration.model_average`."""

    reads: Positive = 1.0  # vectors of every tile after each update; may be less than one
    start_epoch: Annotated[int, Field(ge=0)] = 0  # epochs that are trained before
    windows: Annotated[int, Field(ge=10)] = 10  # sub-windows, at least; their scatter tells how much weights move


class BackendSection(StrictModel):
    """The chip: the name of a backend, and options that go to it as they are (preset, profile, seed, device, ...)."""

    model_config = ConfigDict(extra="allow")

    name: str = "simulated"

    def options(self) -> dict[str, Any]:
        """Return everything but the name."""
        return dict(self.model_extra or {})


class Config(StrictModel):
    """A whole run."""

    seed: Seed = 0  # of initial weights, shuffling and pulse trains; the chip's own is backend.seed
    data: DataSection = DataSection()
    network: NetworkSection = NetworkSection()
    algorithm: Annotated[Digital | AnalogSGD | TikiTaka | TTv2, Field(discriminator="name")] = Digital()
    scaling: ScalingSection = ScalingSection()
    zero_shift: ZeroShiftSection = ZeroShiftSection()
    training: TrainingSection = TrainingSection()
    average: AverageSection | None = None  # none without the section
    backend: BackendSection = BackendSection()

    def to_toml(self) -> str:
        """Return the resolved config, defaults included; reading it back gives an equal model."""
        return dump_toml(self.model_dump(mode="json", exclude_none=True))


def recipe_names() -> list[str]:
    """Return the names of the configs that ship with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml") if path.stem != "demo")


def load_config(name: str, overrides: Iterable[str] = ()) -> Config:
    """Return the config of a TOML file (by path) or of a shipped recipe (by name), with overrides put in.

    Parameters
    ----------
    overrides
        Texts ``"key.path=value"``, the value in TOML.

    Raises
    ------
    ConfigError
        If the file cannot be read, or with one line for each bad or unknown key.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not name.endswith(".toml") and name not in recipe_names():
        raise ConfigError(f"no recipe {name!r}" + did_you_mean(name, recipe_names()) + "; or give a path ending .toml")
    return parse(Config, apply_overrides(read_toml(path), overrides), f"config {name!r}")
