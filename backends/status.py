"""What a chip tells of itself, and what its backend keeps of it between two calls."""

from dataclasses import dataclass, field
from typing import final

from rpudriver.backends.capabilities import Capabilities
from rpudriver.backends.meter import CostMeter
from rpudriver.backends.numbering import Counters
from rpudriver.backends.validation import Limits, Validator
from rpudriver.errors import NotArmedError
from rpudriver.types import Array


@final
@dataclass(frozen=True)
class Status:
    """What a chip tells of itself."""

    armed: bool
    limits: Limits | None
    arrays: tuple[Array, ...]
    cost: dict[str, int | float]


@final
@dataclass
class ChipState:
    """Arrays, their counters, cost and arming of an open chip."""

    arrays: dict[str, Array] = field(default_factory=dict)
    counters: dict[str, Counters] = field(default_factory=dict)
    meter: CostMeter = field(default_factory=CostMeter)
    limits: Limits | None = None
    allowed: tuple[int, float] = (0, 0.0)
    validator: Validator | None = None  # while armed
    closed: bool = False

    def arm(self, limits: Limits | None, chip: Capabilities) -> None:
        """Arm within limits; disarm for None."""
        self.meter.turns.release()
        self.limits, self.allowed = limits, (limits or Limits()).within(chip)
        self.validator = None if limits is None else Validator(chip, self.arrays, limits)

    def armed(self) -> Validator:
        """Return what checks steps.

        Raises
        ------
        NotArmedError
        """
        if self.closed:
            raise NotArmedError("this chip is closed; open it again")
        if self.validator is None:
            raise NotArmedError("this chip is not armed: call arm() before pulses and reads")
        return self.validator
