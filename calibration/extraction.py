"""Weight extraction: the matrix of an array from reads alone, with a standard error for every weight [T, part II]."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.amplitude import Pilot, Planner, Terms, pilot_reads, within
from rpudriver.calibration.designs import DESIGNS, Design
from rpudriver.calibration.faults import line_findings, misfit_finding
from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.gain import Gain
from rpudriver.calibration.levels import InputLevels, output_step
from rpudriver.calibration.procedure import Data, Journal, Procedure, Progress, setting, usable
from rpudriver.calibration.regression import Model, Solution, Sums, add_reads, start_sums
from rpudriver.errors import CalibrationError, ConfigError, StepError
from rpudriver.types import Array, Read

PORTION = 128  # vectors between two savings
LOOKS = 1.25  # the error is looked at when the reads have grown by this factor, or a period


@final
@dataclass(eq=False)
class Extract(Procedure):
    """Extract the weights of an array from reads, until their standard error is small enough.

    Pilot reads tell noise and size of the outputs; they choose the inputs' amplitude. Outputs that saturate are
    modelled as censored, never used as they are. What is found is the effective matrix, gain times weight: absolute
    weights need a column of known weight. Only forward reads are made, so a chip without transposed reads will do.

    Attributes
    ----------
    weights_, error_ : float32 tensors ``[n_out, n_in]``, effective weights and their standard errors, chip units; NaN
        and infinity for outputs that are not determined.
    offset_, offset_error_, noise_ : float32 tensors ``[n_out]``, chip units; noise is that of one read, rounding
        included.
    gain_ : with a reference column the gains and the absolute weights, else None.
    reads_ : vectors read, without the pilot's.
    """

    name: ClassVar[str] = "extract"

    target: float = setting(0.002, "wanted standard error of a weight, chip units", within=(1e-9, 1e9))
    reads: int | None = setting(None, "read this many vectors, whatever the error becomes", within=(1, 10**9))
    most: int = setting(100_000, "read at most this many vectors", within=(1, 10**9))
    design: str = setting("orthogonal", "inputs", choices=tuple(DESIGNS))
    amplitude: float | None = setting(None, "largest input (left out: chosen from pilot reads)", within=(1e-9, 1e9))
    reference_column: int | None = setting(
        None, "column whose weight is known in every row, for the gain of each output", within=(0, 10**9)
    )
    reference_weight: float = setting(1.0, "its weight, chip units", within=(-1e9, 1e9))

    _terms: Terms = field(init=False, repr=False, default=())

    def fit_sum(self, backend: CrossbarBackend, terms: Terms, journal: Journal | None = None) -> Self:
        """Extract the matrix of a sum ``sum_k weight_k W_k`` on a chip that can read it at once.

        Raises
        ------
        StepError
            If the chip cannot sum: fit its arrays one by one and add up what was found.
        """
        if len(terms) > 1 and not backend.capabilities.summed_reads:
            raise StepError("this chip cannot read sums of arrays; extract the arrays one by one and add them up")
        self._terms = terms
        try:
            return self.fit(backend, terms[0][0], journal)
        finally:
            self._terms = ()

    def summary(self) -> dict[str, Any]:
        """Return the results as plain numbers; docs/calibration.md tells what each is."""
        live = torch.isfinite(self.error_)
        error = float(self.error_[live].double().square().mean().sqrt()) if bool(live.any()) else None
        data = self.data_
        return {
            "weights": "effective, gain times weight" if self.gain_ is None else "effective and absolute",
            "standard_error": error,
            "target": None if self.reads is not None else self.target,
            "reached": None if self.reads is not None else error is not None and error <= self.target,
            "reads": self.reads_,
            "pilot_reads": data["pilot/reads"],
            "design": self.design,
            "amplitude": data["plan/level"] * data["chip/level_size"],
            "clipped_share": float(1 - data["extracted/seen"].mean()),
            "noise": _median(self.noise_),
            "weights_sd": float(self.weights_[live].std()) if int(live.sum()) > 1 else None,
            "largest_offset": _largest(self.offset_),
        }

    def residuals(self) -> torch.Tensor:
        """Return the residuals of the last portion, in standard deviations of a read; NaN where it was clipped.

        They are scaled up for what the fit has taken of them.
        """
        data = self.data_
        y = data["last/outputs"]
        numbers = torch.arange(data["last/first"], data["last/first"] + len(y))
        x = self._inputs(self.weights_.shape[1]).levels(numbers, data["plan/level"]) * data["chip/level_size"]
        left = (1 - (x.shape[1] + 1) / self.reads_) ** 0.5
        residual = (y - x @ self.weights_.t() - self.offset_) / (left * self.noise_.clamp(min=1e-12))
        return torch.where(data["last/clipped"], torch.nan, residual)

    # ---- hooks --------------------------------------------------------------------------------------------------

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        needed = self._inputs(array.n_in).needed
        for name, value in (("reads", self.reads), ("most", self.most)):
            if value is not None and value < needed:
                raise CalibrationError(
                    f"Extract: {name} = {value} is too few for {array.n_in} columns, an offset and the noise: the "
                    f"{self.design} design needs at least {needed}"
                )
        levels = InputLevels.of(backend)
        largest = levels.step * levels.most
        if self.amplitude is not None and not levels.step * 0.999 <= self.amplitude <= largest * 1.001:
            raise ConfigError(
                f"Extract: amplitude = {self.amplitude:g} must lie in [{levels.step:g}, {largest:g}], "
                "what the input converter can put on a line and what is armed"
            )
        if self.reference_column is not None and self.reference_column >= array.n_in:
            raise ConfigError(
                f"Extract: reference_column = {self.reference_column}: array {array.name!r} has the columns 0 .. "
                f"{array.n_in - 1}"
            )
        if self.reference_weight == 0:
            raise ConfigError("Extract: reference_weight = 0 tells no gain; give the known weight of the column")

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        levels, bound = InputLevels.of(backend), backend.capabilities.output_bound
        first = levels.most if self.amplitude is None else max(1, math.floor(self.amplitude / levels.step + 1e-6))
        return {
            "chip/level_size": levels.step,
            "chip/most_level": levels.most,
            "chip/output_bound": 0.0 if bound is None else bound,
            "chip/output_step": output_step(backend.capabilities),
            "pilot/level": first,  # of the next pilot, until one has few clipped outputs
            "pilot/reads": 0,
            "plan/level": 0,  # not yet
            "plan/vectors": 0,
            "plan/next_look": 0,
            "looks/reads": torch.zeros(0, dtype=torch.int64),
            "looks/error": torch.zeros(0, dtype=torch.float64),
            **_named(start_sums(self._inputs(array.n_in), array.n_out)),
        }

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        if data["plan/level"] == 0:
            self._pilot(backend, array, data)
            return False
        design, sums = self._inputs(array.n_in), _sums(data)
        first = sums["vectors"]
        numbers = torch.arange(first, min(first + PORTION, data["plan/next_look"]))
        x = design.levels(numbers, data["plan/level"])
        result = backend.run([Read(self._terms or ((array, 1.0),), within(x * data["chip/level_size"], backend))])[0]
        values = usable(result.values, f"array {array.name!r}, vectors {first} .. {int(numbers[-1])}")
        add_reads(sums, x, result)
        data.update(_named(sums))
        data["last/outputs"], data["last/first"] = values, first
        data["last/clipped"] = result.saturated.cpu()
        return sums["vectors"] >= data["plan/next_look"] and self._look(design, data)

    def _pilot(self, backend: CrossbarBackend, array: Array, data: Data) -> None:
        """Make pilot reads at half the level of the last ones; plan when few outputs were clipped."""
        pilot = pilot_reads(backend, self._terms or ((array, 1.0),), data["pilot/level"], self.seed)
        data["pilot/reads"] += pilot.reads
        if not pilot.few_clipped and pilot.level > 1 and self.amplitude is None:
            data["pilot/level"] = pilot.level // 2
            return
        data["pilot/noise"], data["pilot/pairs"], data["pilot/norms"] = pilot.noise, pilot.pairs, pilot.norms
        self._plan(self._inputs(array.n_in), pilot, data)

    def _plan(self, design: Design, pilot: Pilot, data: Data) -> None:
        levels = InputLevels(data["chip/level_size"], data["chip/most_level"])
        choice = levels.choice() if self.amplitude is None else [pilot.level]
        planner = Planner(pilot, design, choice, levels.step, data["chip/output_bound"] or None)
        if self.reads is None:
            chosen = planner.shortest(self.target, self.most)
        else:
            chosen = planner.best(design.whole(self.reads))
        data["plan/level"], data["plan/vectors"], data["plan/error"] = chosen.level, chosen.vectors, chosen.error
        data["plan/next_look"] = min(design.needed, chosen.vectors)

    def _look(self, design: Design, data: Data) -> bool:
        """Estimate the error; decide whether that is all, and if not, when to look again."""
        found = self._solve(design, data)
        error, reads = found.overall_error, found.vectors
        data["looks/reads"] = torch.cat([data["looks/reads"], torch.tensor([reads])])
        data["looks/error"] = torch.cat([data["looks/error"], torch.tensor([error], dtype=torch.float64)])
        if self.reads is not None:
            last = design.whole(self.reads)
        else:
            last = design.whole(self.most)
            if error <= self.target or math.isnan(error):
                data["plan/vectors"] = reads
                return True
            likely = design.whole(reads * (error / self.target) ** 2)
            data["plan/vectors"] = min(last, max(likely, reads + design.period))
        if reads >= last:
            return True
        step = max(design.period, design.whole((LOOKS - 1) * reads))
        data["plan/next_look"] = min(reads + step, data["plan/vectors"])
        return False

    def _progress(self, data: Data) -> Progress:
        planned = max(1, data["plan/vectors"])
        error = f"error {float(data['looks/error'][-1]):.2g}" if len(data["looks/error"]) else ""
        return Progress(min(data["sums/vectors"], planned), planned, error)

    def _conclude(self, data: Data) -> None:
        design = self._inputs(data["sums/xy"].shape[1])
        found = self._solve(design, data)
        self.weights_, self.error_ = found.weights.float(), found.error.float()
        self.offset_, self.offset_error_ = found.offset.float(), found.offset_error.float()
        self.noise_, self.reads_ = found.noise.float(), found.vectors
        self.gain_ = None
        if self.reference_column is not None:
            self.gain_ = Gain.of(found, self.reference_column, self.reference_weight)
        self.findings_ = tuple(self._faults(found, data))
        data["extracted/weights"], data["extracted/error"] = self.weights_, self.error_
        data["extracted/offset"], data["extracted/noise"] = self.offset_, self.noise_
        data["extracted/seen"] = found.seen
        if self.gain_ is not None:
            data["absolute/gain"], data["absolute/gain_error"] = self.gain_.gain.float(), self.gain_.gain_error.float()
            data["absolute/weights"], data["absolute/error"] = self.gain_.weights.float(), self.gain_.error.float()

    def _faults(self, found: Solution, data: Data) -> Iterator[Finding]:
        yield from line_findings(found)
        larger = max(1.0, data["plan/level"] / data["pilot/level"]) ** 2
        yield from misfit_finding(
            found, data["pilot/noise"], data["pilot/pairs"], larger, data["chip/output_step"]
        )  # fmt: skip
        if self.gain_ is not None:
            yield from found_where(
                "no-gain",
                "the reference column does not respond, so nothing absolute is known of this output",
                torch.isnan(self.gain_.weights).all(1) & found.determined,
            )
        if self.reads is None and not found.overall_error <= self.target:
            yield self._missed(found)

    def _missed(self, found: Solution) -> Finding:
        error = found.overall_error
        more = math.ceil(found.vectors * (error / self.target) ** 2) if math.isfinite(error) else 0
        cure = f"would take about {more:,} reads (--most)" if more else "no output is determined"
        return Finding(
            "target-not-reached", f"standard error {error:.2g} after {found.vectors} reads; {self.target:g} {cure}", ()
        )

    def _inputs(self, lines: int) -> Design:
        return DESIGNS[self.design](lines, self.seed)

    def _solve(self, design: Design, data: Data) -> Solution:
        model = Model(
            design, data["plan/level"], data["chip/level_size"], data["chip/output_bound"] or None,
            data["chip/output_step"],
        )  # fmt: skip
        sums = _sums(data)
        found = model.solve(sums)
        data.update(_named(sums))
        return found


def _named(sums: Sums) -> Data:
    return {f"sums/{key}": value for key, value in sums.items()}


def _sums(data: Data) -> Sums:
    return {key.removeprefix("sums/"): value for key, value in data.items() if key.startswith("sums/")}


def _median(values: torch.Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return float(finite.median()) if len(finite) else None


def _largest(values: torch.Tensor) -> float | None:
    finite = values[torch.isfinite(values)]
    return float(finite.abs().max()) if len(finite) else None
