"""Which of ArC TWO's 64 channels a chip's lines are wired to: the table ``[arc2]`` of a chip profile."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from rpudriver.backends.hardware.arc2.calls import CHANNELS, CLUSTER
from rpudriver.config.model import StrictModel

LARGEST_VOLTS = 10.0  # voltages are scaled for this range whatever range was chosen, and clip beyond it
SHORTEST_NS, LONGEST_NS = 40, 500_000_000  # of the pulse drivers; what is shorter becomes 40 ns without a word

Channel = Annotated[int, Field(ge=0, lt=CHANNELS)]


class Wiring(StrictModel):
    """Channels of the lines, and what a current means."""

    rows: tuple[Channel, ...]  # of row 0, row 1, ...
    columns: tuple[Channel, ...]
    siemens_at_zero: Annotated[float, Field(ge=0)] = 0.0  # of a device that stands for 0; subtracted digitally

    def problems(self, rows: int, columns: int) -> Iterator[str]:
        """Yield what is wrong for a chip of so many lines, in words."""
        for name, lines, wanted in (("rows", self.rows, rows), ("columns", self.columns, columns)):
            if len(lines) != wanted:
                yield f"arc2.{name} names {len(lines)} channels for {wanted} lines; name one for each"
        both = self.rows + self.columns
        if len(set(both)) < len(both):
            twice = sorted({channel for channel in both if both.count(channel) > 1})
            yield f"arc2.rows and arc2.columns share or repeat the channels {twice}; each line needs its own"
        mixed = clusters(self.rows) & clusters(self.columns)
        if mixed:
            yield (
                f"arc2: channel clusters {sorted(mixed)} (of {CLUSTER} channels each) hold rows and columns, which "
                "need opposite polarities; wire rows and columns to clusters of their own"
            )


def clusters(channels: tuple[int, ...]) -> set[int]:
    """Return the clusters that channels belong to."""
    return {channel // CLUSTER for channel in channels}
