"""What every response family is: the relative step of a pulse as a function of the weight."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rpudriver.config.model import StrictModel

Values = Any  # a numpy array or a torch tensor: responses are written with operators and the module `xp` only


class Parameter(StrictModel):
    """A parameter with device-to-device spread.

    ``normal``: ``mean * (1 + d2d * xi)``, kept above 1 % of the mean; ``log-normal``: ``mean * exp(d2d * xi -
    d2d^2 / 2)``, whose mean is `mean` too. A plain number in TOML is a parameter without spread.
    """

    mean: float
    d2d: Annotated[float, Field(ge=0)] = 0.0
    form: Literal["normal", "log-normal"] = "normal"

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: Any) -> Any:
        return {"mean": value} if isinstance(value, (int, float)) else value


class Response(StrictModel):
    """Relative step ``q(w)`` of one up or down pulse, in units of ``dw_min``; 1 means a nominal step.

    Fields that are `Parameter` are drawn once for every device and handed to `up` and `down` under their names,
    together with the device's bounds ``w_min`` and ``w_max``. Both methods take numpy arrays with ``xp = numpy`` and
    torch tensors with ``xp = torch``, so write them with operators and functions that both modules have.
    """

    @abstractmethod
    def up(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        """Return ``q_plus(w)``, not negative."""

    @abstractmethod
    def down(self, w: Values, p: Mapping[str, Values], xp: Any) -> Values:
        """Return ``q_minus(w)``, not negative."""

    def spread(self, w: Values, p: Mapping[str, Values], up: bool, xp: Any) -> Values:
        """Return a spread of the step that belongs to the response itself, in units of ``dw_min``."""
        return 0.0

    def parameters(self) -> dict[str, Parameter]:
        """Return the fields that vary from device to device."""
        return {name: value for name, value in self if isinstance(value, Parameter)}
