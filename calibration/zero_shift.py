"""Zero shifting (Kim et al. 2019, arXiv:1907.10228): make the symmetry point of every device read as zero.

What all methods share: measure the points, write them to the references or keep them digitally, verify. The methods
are `AlternatingZeroShift` and `ResponseZeroShift`.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Nominal
from rpudriver.backends.writing import read_weights
from rpudriver.calibration.crossing import Prior
from rpudriver.calibration.point_search import PointSearch, burst_for, first_norm
from rpudriver.calibration.procedure import Data, Procedure, setting
from rpudriver.calibration.sweep import check_budget
from rpudriver.calibration.zero_shift_findings import findings_of
from rpudriver.calibration.zero_shift_summary import VERIFIED, summary_of, verified_residual
from rpudriver.errors import StepError
from rpudriver.types import Array, Cell, Port

VERIFY_SPREAD = 1.0  # of the prior of a verification: wide, so that it does not favour a point at zero
CURVATURE = 0.5


@final
@dataclass(frozen=True, eq=False)
class Points:
    """What a method has found.

    Attributes
    ----------
    points : float tensor ``[n_out, n_in]``, what the symmetry points read as; NaN where that was not read.
    errors : their standard errors; NaN where a method has none.
    weights : what the devices read as now; equal to `points` where they rest there.
    pulses : int64 tensor ``[n_out, n_in]``, pulses that each device saw.
    """

    points: torch.Tensor
    errors: torch.Tensor
    weights: torch.Tensor
    pulses: torch.Tensor


@dataclass(eq=False)
class ZeroShift(Procedure):
    """The base of both methods: references or digital points, and verification.

    Attributes
    ----------
    points_ : float32 tensor ``[n_out, n_in]``, what the symmetry points read as before the references were moved.
    errors_ : their standard errors; NaN where the method has none.
    reference_ : the same as points_ where the reference is kept digitally: subtract it from what is read; else zero.
    pulses_ : int64 tensor, pulses of each device without those of the verification.
    residual_, residual_error_ : where the symmetry points now lie, by verification, and its standard error; NaN
        without one.
    live_ : bool tensor, devices that move and are read.
    """

    leaves_at_points: ClassVar[bool] = False  # whether the measurement itself leaves the devices at their points

    pulses: int | None = setting(None, "most pulses for each device (default: from the states)", within=(0, 10**9))
    reference: str = setting("device", "what holds the points", choices=("device", "digital"))
    verify: int = setting(
        160, "least pulses of each of two verifications, in four bursts or more; 0: none", within=(0, 10**6)
    )

    rest: bool = setting(True, "bring the devices back to their points in the end")

    points_: torch.Tensor = field(init=False, repr=False)
    errors_: torch.Tensor = field(init=False, repr=False)
    reference_: torch.Tensor = field(init=False, repr=False)
    pulses_: torch.Tensor = field(init=False, repr=False)
    residual_: torch.Tensor = field(init=False, repr=False)
    residual_error_: torch.Tensor = field(init=False, repr=False)
    live_: torch.Tensor = field(init=False, repr=False)

    @property
    def cell(self) -> Cell:
        return Cell.SINGLE if self.reference == "digital" else Cell.REFERENCE

    def summary(self) -> dict[str, Any]:
        return summary_of(self.data_, self.reference_, self.residual_, self.residual_error_, self.live_)

    # ---- what a method does -------------------------------------------------------------------------------------

    @abstractmethod
    def _measure(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        """Do the next portion of finding the points; return whether it was the last."""

    @abstractmethod
    def _found(self, data: Data) -> Points:
        """Return what was found."""

    # ---- hooks of Procedure -------------------------------------------------------------------------------------

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        check_budget(backend)
        if self.reference == "device" and array.cell is not Cell.REFERENCE:
            raise StepError(
                f"array {array.name!r} has {array.cell.value} cells and no reference to move: allocate it with "
                "Cell.REFERENCE, or keep the points digitally (reference='digital')"
            )

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        device = backend.capabilities.device
        return {
            **{f"chip/{key}": getattr(device, key) for key in Nominal.model_fields},
            "phase": "measure", "reads/done": 0, "reads/vectors": 0,
            "reads/norm": first_norm(backend, array), "rows/saturated": torch.zeros(array.n_out, dtype=torch.bool),
        }  # fmt: skip

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        match data["phase"]:
            case "measure":
                if self._measure(backend, array, data):
                    self._keep_found(data)
                    data["phase"] = "reference"
            case "reference":
                if self.reference == "device":
                    _move_references(backend, array, data)
                data["phase"] = VERIFIED[0] if self.verify else "rest"
            case "verify/a" | "verify/b":
                if self._verified(backend, array, data):
                    data["phase"] = VERIFIED[1] if data["phase"] == VERIFIED[0] else "rest"
            case "rest":
                if self.rest and (self.verify or not self.leaves_at_points):
                    backend.write(array, _as_it_is(backend, array, data, self._zero(data)))
                data["phase"] = "done"
        return bool(data["phase"] == "done")

    def _conclude(self, data: Data) -> None:
        self.points_, self.errors_ = data["found/points"], data["found/errors"]
        self.pulses_ = data["found/pulses"]
        self.reference_ = self._zero(data)
        self.residual_, self.residual_error_ = verified_residual(data, self.reference_)
        self.live_, self.findings_ = findings_of(data, self.residual_, self.residual_error_)

    # ---- parts --------------------------------------------------------------------------------------------------

    def _zero(self, data: Data) -> torch.Tensor:
        """Return what reads as zero from now on: the points kept digitally, or zero itself."""
        points: torch.Tensor = data["found/points"]
        return points if self.reference == "digital" else torch.zeros_like(points)

    def _search(self, data: Data, group: str, spread: float, curvature: float, common: bool) -> PointSearch:
        device = Nominal(**{key: data[f"chip/{key}"] for key in Nominal.model_fields})
        return PointSearch(group, Prior(device, spread, curvature), burst_for(device), common, self.seed)

    def _verified(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        """Measure around the point with fresh reads, as if nothing were known; return whether that is done."""
        search = self._search(data, data["phase"], VERIFY_SPREAD, CURVATURE, common=True)
        if not search.begun(data):
            search.begin(backend, array, data)
            return False
        search.advance(backend, array, data, torch.full(array.shape, search.burst))
        return search.bursts(data) >= max(4, 2 * -(-self.verify // (2 * search.burst)))

    def _keep_found(self, data: Data) -> None:
        found = self._found(data)
        lost = data["rows/saturated"][:, None]
        for name in ("points", "errors", "weights"):
            data[f"found/{name}"] = torch.where(lost, torch.nan, getattr(found, name)).float()
        data["found/pulses"] = found.pulses


def _move_references(backend: CrossbarBackend, array: Array, data: Data) -> None:
    """Pulse the references until what a device reads as has fallen by its point; one that was not read stays."""
    wanted = _as_it_is(backend, array, data, data["found/weights"] - data["found/points"])
    before = backend.status().cost
    data["reference/wanted"] = wanted
    data["reference/achieved"] = backend.write(array, wanted, Port.REFERENCE).detach().cpu()
    after = backend.status().cost
    data["reference/vectors"] = int(after["reads"] - before["reads"])
    data["reference/coincidences"] = int(after["coincidences"] - before["coincidences"])


def _as_it_is(backend: CrossbarBackend, array: Array, data: Data, wanted: torch.Tensor) -> torch.Tensor:
    """Return what the cells are to read as: saturated rows as they do; zero where the points were not read."""
    lost = data["rows/saturated"]
    if bool(lost.any()):
        wanted = torch.where(lost[:, None], read_weights(backend, array), wanted)
    return wanted.nan_to_num(0.0)
