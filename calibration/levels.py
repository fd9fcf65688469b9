"""The grid of a chip's converters, as calibrations need it."""

import math
from dataclasses import dataclass
from typing import Self, final

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Capabilities

FINE = 2**15  # levels where there is no input converter


@final
@dataclass(frozen=True)
class InputLevels:
    """What the input converter can put on a line.

    Attributes
    ----------
    step : size of a level, chip units of input.
    most : the largest level that the chip has and that is armed.
    """

    step: float
    most: int

    def choice(self, count: int = 64) -> list[int]:
        """Return at most `count` levels from the smallest to the largest, evenly spread."""
        return sorted({math.ceil(self.most * number / count) for number in range(1, count + 1)})

    @classmethod
    def of(cls, backend: CrossbarBackend) -> Self:
        """Return the levels of a chip within its armed limits."""
        bits, bound = backend.capabilities.input_bits, backend.capabilities.input_bound
        step = bound / (FINE if bits is None else 2 ** (bits - 1) - 1)
        return cls(step, max(1, math.floor(backend.allowed[1] / step * (1 + 1e-9))))


def output_step(chip: Capabilities) -> float:
    """Return the step of the output converter, 0 where there is none."""
    bits, bound = chip.output_bits, chip.output_bound
    return 0.0 if bits is None or bound is None else bound / float(2 ** (bits - 1) - 1)
