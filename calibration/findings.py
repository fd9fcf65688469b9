"""Findings: what a calibration noticed and a user should look at, by name and place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

SHOWN = 6  # places that a message names


@final
@dataclass(frozen=True)
class Finding:
    """Something wrong with devices or lines.

    Attributes
    ----------
    kind : short name, for example ``"stuck-device"``, ``"dead-column"``, ``"saturated-output"``.
    message : what was seen and what to do.
    places : ``(row, column)`` of devices, or ``(line,)`` of lines; empty where it is the whole array.
    """

    kind: str
    message: str
    places: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        shown = ", ".join(str(place[0] if len(place) == 1 else place) for place in self.places[:SHOWN])
        more = f" and {len(self.places) - SHOWN} more" if len(self.places) > SHOWN else ""
        return f"{self.kind}: {self.message}" + (f" ({shown}{more})" if self.places else "")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"kind": self.kind, "message": self.message, "places": [list(place) for place in self.places]}


def found_where(kind: str, message: str, mask: torch.Tensor) -> tuple[Finding, ...]:
    """Return one finding for the places at which a mask is set; none where it is clear."""
    places: Sequence[Sequence[int]] = mask.nonzero().tolist()
    return (Finding(kind, message, tuple(tuple(place) for place in places)),) if places else ()
