"""Zero shifting from measured responses: the point is where the lines of up and down steps cross."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.point_search import PointSearch
from rpudriver.calibration.procedure import Data, Progress, setting
from rpudriver.calibration.zero_shift import CURVATURE, Points, ZeroShift
from rpudriver.types import Array

PULSES_PER_STATE = 2
LEAST_PULSES = 400
ENOUGH, ENOUGH_COMMON = 0.98, 0.95  # share of devices that must be known; common bursts pulse all for the last
BEYOND = 0.1  # of the range: farther from where a device was seen no point is taken


@final
@dataclass(eq=False)
class ResponseZeroShift(ZeroShift):
    """Zero shifting from measured responses: bursts of pulses, reads between them, a fit for each device, early stop.

    Every device is led towards its estimated point and then pulsed up and down around it, the sign first whose step is
    less known; it is left alone once its standard error is below `precision`. It needs not arrive: the estimate is
    what is written to the reference. See `Crossing` for the fit, `PointSearch` for the bursts.
    """

    name: ClassVar[str] = "zero-shift-response"

    precision: float = setting(
        0.015, "standard error of a point at which its device is left alone, in w_max - w_min", within=(1e-5, 1)
    )
    bursts: str = setting(
        "own", "own: fewest pulses; common: every line fires, fewest slots", choices=("own", "common")
    )
    rounds: int = setting(48, "most bursts of a device", within=(1, 10_000))
    spread: float = setting(0.5, "relative spread of steps and bounds that is expected", within=(0.01, 10))
    curvature: float = setting(
        CURVATURE, "expected bend of the response: its second derivative, in dw_min and bounds", within=(0, 10)
    )

    def _most(self, data: Data) -> int:
        states = (data["chip/w_max"] - data["chip/w_min"]) / data["chip/dw_min"]
        return max(LEAST_PULSES, round(PULSES_PER_STATE * states)) if self.pulses is None else self.pulses

    def _measure(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        search = self._own_search(data)
        if not search.begun(data):
            search.begin(backend, array, data)
            data["search/wanted"] = self.precision * (data["chip/w_max"] - data["chip/w_min"])
            return self._most(data) == 0
        search.advance(backend, array, data, self._room(search, data))
        return search.bursts(data) >= self.rounds or not bool(self._room(search, data).any())

    def _own_search(self, data: Data) -> PointSearch:
        return self._search(data, "search", self.spread, self.curvature, self.bursts == "common")

    def _room(self, search: PointSearch, data: Data) -> torch.Tensor:
        """Return the pulses that each device may still get; none once it is known, or stuck.

        The last few are not waited for: every burst of one device is a read of all.
        """
        crossing = search.crossing(data)
        known = (crossing.error < data["search/wanted"]) | crossing.stuck | data["rows/saturated"][:, None]
        enough = float(known.double().mean()) >= (ENOUGH_COMMON if search.common else ENOUGH)
        left = (self._most(data) - search.spent(data)).clamp_min(0)
        if enough:
            return torch.zeros_like(left)
        return left if search.common else torch.where(known, 0, left)

    def _progress(self, data: Data) -> Progress:
        done = len(data["search/counts"])
        wanted = float((data["search/point_errors"][-1] < data["search/wanted"]).double().mean())
        note = f"{data['phase']}, {100 * wanted:.0f} % known"
        return Progress(done if data["phase"] == "measure" else self.rounds, self.rounds + 1, note)

    def _found(self, data: Data) -> Points:
        search = self._own_search(data)
        crossing = search.crossing(data)
        reads, reach = data["search/reads"], BEYOND * (data["chip/w_max"] - data["chip/w_min"])
        seen = torch.minimum(torch.maximum(crossing.point, reads.amin(0) - reach), reads.amax(0) + reach)
        points = torch.where(crossing.stuck, crossing.weight, seen)  # what does not move is its own point
        return Points(points, crossing.error, crossing.weight, search.spent(data))
