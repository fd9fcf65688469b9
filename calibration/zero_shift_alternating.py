"""Zero shifting by alternating pulses (Kim et al. 2019, arXiv:1907.10228)."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.point_search import burst_for, read_all
from rpudriver.calibration.procedure import Data, Progress, setting
from rpudriver.calibration.sweep import Stage, steps_of
from rpudriver.calibration.zero_shift import Points, ZeroShift
from rpudriver.errors import ConfigError
from rpudriver.types import Array, Step

PULSES_PER_STATE = 4  # from anywhere in its range a soft-bounds device then is within a step of its point
LEAST_PULSES = 400  # where states are few it is the noise of the pulses that wants averaging


@final
@dataclass(eq=False)
class AlternatingZeroShift(ZeroShift):
    """Zero shifting by up and down pulses in turn, which lead every device to its symmetry point.

    A device approaches its point by ``exp(-pulses dw_min / b)``, b the bound, and then rests within half a step of
    it, with cycle-to-cycle noise s about ``s sqrt(dw_min b / 2)`` off. The mean of reads during the last pulses is
    nearer: half of them are taken after an up pulse and half after a down pulse, which moves the mean to the point.
    """

    name: ClassVar[str] = "zero-shift"
    leaves_at_points: ClassVar[bool] = True

    reads: int = setting(32, "reads of all weights on the way; 0: none, as in the paper", within=(0, 10_000))
    average: float = setting(
        0.25, "share of the pulses in the end of which the reads are averaged; 0: the last alone counts", within=(0, 1)
    )

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        super()._check(backend, array)
        if self.reference == "digital" and self.reads == 0:
            raise ConfigError("reads = 0: points that are kept digitally must be read; give at least 1")

    def _total(self, data: Data) -> int:
        """Return the pulses, whole pairs."""
        states = (data["chip/w_max"] - data["chip/w_min"]) / data["chip/dw_min"]
        pulses = max(LEAST_PULSES, round(PULSES_PER_STATE * states)) if self.pulses is None else self.pulses
        return 2 * -(-pulses // 2)

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        rows = torch.zeros(0, *array.shape)
        return super()._start(backend, array) | {
            "alternate/pulses": torch.zeros(0, dtype=torch.int64), "alternate/reads": rows,
            "alternate/read_errors": torch.zeros(0, array.n_out),
            "alternate/vectors": torch.zeros(0, dtype=torch.int64),
            "alternate/done": 0, "found/shape": torch.tensor(array.shape),
        }  # fmt: skip

    def _measure(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        total, number = self._total(data), len(data["alternate/pulses"]) + 1
        here = int(data["alternate/done"])
        there = total if number >= self.reads else 2 * round(total / 2 * number / self.reads) - number % 2
        steps = _alternate(backend, array, here, max(here, there))
        if steps:
            backend.run(steps)
        data["alternate/done"] = max(here, there)
        if self.reads:
            self._look(backend, array, data)
        return number >= self.reads

    def _look(self, backend: CrossbarBackend, array: Array, data: Data) -> None:
        device = backend.capabilities.device
        wanted = max(device.c2c, 0.1) * device.dw_min * burst_for(device) ** 0.5
        weights, errors = read_all(backend, array, data, wanted, self.seed)
        for name, value in (
            ("pulses", torch.tensor([data["alternate/done"]])), ("reads", weights.float()[None]),
            ("read_errors", errors.float()[None]), ("vectors", torch.tensor([data["reads/vectors"]])),
        ):  # fmt: skip
            data[f"alternate/{name}"] = torch.cat([data[f"alternate/{name}"], value])

    def _progress(self, data: Data) -> Progress:
        total = max(1, self._total(data))
        later = 0.0 if data["phase"] == "measure" else 0.1 * total
        return Progress(data["alternate/done"] + later, 1.1 * total, data["phase"])

    def _found(self, data: Data) -> Points:
        shape = data["found/shape"].tolist()
        pulses = torch.full(shape, data["alternate/done"])
        unknown = torch.full(shape, torch.nan)
        if not self.reads:
            return Points(unknown, unknown, unknown, pulses)
        points = averaged(data["alternate/pulses"], data["alternate/reads"], self.average)
        return Points(points, unknown, data["alternate/reads"][-1], pulses)


def averaged(pulses: torch.Tensor, reads: torch.Tensor, share: float) -> torch.Tensor:
    """Return the mean of the reads in the last share of the pulses, those after up and after down pulses alike.

    Parameters
    ----------
    pulses : int64 tensor ``[K]``, pulses before each read; odd after an up pulse.
    reads : float tensor ``[K, ...]``
    """
    late = pulses >= (1 - share) * pulses[-1]
    sides = [reads[late & (pulses % 2 == side)] for side in (0, 1)]
    if not all(len(side) for side in sides):
        return reads[-1]
    return (sides[0].mean(0) + sides[1].mean(0)) / 2


def _alternate(backend: CrossbarBackend, array: Array, start: int, stop: int) -> list[Step]:
    """Return the pulses of numbers `start` to `stop` of a sequence that goes up at even and down at odd numbers."""
    steps: list[Step] = []
    if start % 2 and start < stop:
        steps += steps_of(Stage("down", pulses=-1), backend, array)
        start += 1
    if stop - start >= 2:
        steps += steps_of(Stage("alternate", pairs=(stop - start) // 2), backend, array)
    if (stop - start) % 2:
        steps += steps_of(Stage("up", pulses=1), backend, array)
    return steps
