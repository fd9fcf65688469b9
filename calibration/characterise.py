"""Characterisation of the devices of an array: pulse-response sweeps, and what they tell of every device."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Capabilities
from rpudriver.calibration.levels import output_step
from rpudriver.calibration.orthogonal import Reading, amplitude_for, pass_length, read_orthogonal
from rpudriver.calibration.procedure import Data, Procedure, Progress, setting, usable
from rpudriver.calibration.sweep import PHASES, Stage, check_budget, plan_sweep, steps_of
from rpudriver.calibration.sweep_evaluation import Evaluation, evaluate
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Array

FLOOR_READS = 512  # of one vector: its noise to 3 %
MOST_VECTORS = 2**16  # of one read of all weights


@final
@dataclass(eq=False)
class Characterise(Procedure):
    """Measure what pulses do to every device: steps, bounds, symmetry point, noise, drift.

    Attributes
    ----------
    data_ : the data set; docs/calibration.md lists its entries.
    evaluation_ : estimates of all devices with their intervals, masks, findings, and the summary.
    """

    name: ClassVar[str] = "characterise"

    cycles: int = setting(3, "sweeps up and down", within=(1, 1000))
    points: int = setting(40, "groups of pulses in a leg, each followed by a read of all weights", within=(4, 10_000))
    span: float = setting(2.0, "pulses of a leg up or down, in nominal n_states", within=(0.1, 100))
    pairs: float = setting(1.0, "alternating up/down pairs from either end, in nominal n_states", within=(0.01, 100))
    singles: int = setting(20, "single pulses read one by one, up and down in turn", within=(0, 10_000))
    wait: float = setting(1.0, "seconds of waiting for drift, twice; 0: none", within=(0, 1e6))
    precision: float = setting(
        0.15, "standard error of a weight read, in dw_min * sqrt(pulses of a group)", within=(1e-4, 100)
    )
    vectors: int | None = setting(None, "vectors of one read of all weights, instead of --precision", within=(1, 2**24))

    false_alarm: float = setting(
        0.001, "chance that a device that never moves is taken for a moving one", within=(1e-12, 0.5)
    )

    evaluation_: Evaluation = field(init=False, repr=False)

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        check_budget(backend)

    def plan(self, chip: Capabilities) -> list[Stage]:
        """Return the stages of the sweep on a chip."""
        return plan_sweep(
            chip.device.n_states, self.cycles, self.points, self.span, self.pairs, self.singles, self.wait
        )

    def passes(self, chip: Capabilities, array: Array) -> int:
        """Return how often a read of all weights goes through its inputs."""
        if self.vectors is not None:
            return max(1, math.ceil(self.vectors / pass_length(array)))
        group = max(1.0, self.span * chip.device.n_states / self.points)
        wanted = self.precision * chip.device.dw_min * math.sqrt(group)
        norm = math.sqrt(array.n_in / 3) * max(chip.device.w_max, -chip.device.w_min)  # of weights all over the range
        amplitude = (
            chip.input_bound if chip.output_bound is None else min(chip.input_bound, chip.output_bound / 4 / norm)
        )
        noise = math.hypot(chip.output_noise, output_step(chip) / math.sqrt(12)) / amplitude
        needed = min(MOST_VECTORS, math.ceil((noise / wanted) ** 2))
        return max(1, math.ceil(needed / pass_length(array)))

    def cost(self, chip: Capabilities, array: Array) -> dict[str, int]:
        """Return what a measurement takes, reads again of saturated outputs not counted."""
        stages = self.plan(chip)
        return {
            "stages": len(stages),
            "pulses_per_device": sum(stage.device_pulses for stage in stages),
            "reads": 2 * FLOOR_READS + len(stages) * self.passes(chip, array) * pass_length(array),
        }

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        chip = backend.capabilities
        stages, n_out, n_in = self.plan(chip), array.n_out, array.n_in
        lines = (len(stages), n_out)
        return {
            "chip/dw_min": chip.device.dw_min,
            "chip/w_min": chip.device.w_min,
            "chip/w_max": chip.device.w_max,
            "chip/c2c": chip.device.c2c,
            "chip/output_step": output_step(chip),
            "plan/phases": ",".join(PHASES),
            "plan/phase": torch.tensor([PHASES.index(stage.phase) for stage in stages]),
            "plan/cycle": torch.tensor([stage.cycle for stage in stages]),
            "plan/pulses": torch.tensor([stage.pulses for stage in stages]),
            "plan/pairs": torch.tensor([stage.pairs for stage in stages]),
            "plan/wait": torch.tensor([stage.wait for stage in stages], dtype=torch.float64),
            "plan/done": 0,
            "floor/amplitude": torch.zeros(2, dtype=torch.float64),
            "floor/reads": torch.full((2, FLOOR_READS, n_out), math.nan),
            "reads/amplitude": torch.full((len(stages),), math.nan, dtype=torch.float64),
            "reads/vectors": torch.zeros(len(stages), dtype=torch.int64),
            "reads/reread": torch.zeros(len(stages), dtype=torch.int64),
            "outputs/noise": torch.full(lines, math.nan),
            "outputs/offset": torch.full(lines, math.nan),
            "outputs/factor": torch.full(lines, math.nan),
            "weights/value": torch.full((len(stages), n_out, n_in), math.nan),
        }

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        done = int(data["plan/done"])
        stage = _stage(data, done)
        steps = steps_of(stage, backend, array)
        if steps:
            backend.run(steps)
        norm = _norm(data, done, array)
        amplitude = amplitude_for(backend, norm)
        reading = read_orthogonal(backend, array, self.passes(backend.capabilities, array), amplitude, self.seed, done)
        _keep(data, done, amplitude, reading)
        if done == 0:
            _read_floor(backend, array, data, amplitude_for(backend, _norm(data, 1, array)), self.seed)
        data["plan/done"] = done + 1
        return bool(data["plan/done"] == len(data["plan/phase"]))

    def _progress(self, data: Data) -> Progress:
        done, total = int(data["plan/done"]), len(data["plan/phase"])
        pulses = int((data["plan/pulses"].abs() + 2 * data["plan/pairs"]).sum())
        reads = int(data["reads/vectors"][0]) * total
        return Progress(done, total, f"{pulses:,} pulses a device and {reads:,} reads in all")

    def _conclude(self, data: Data) -> None:
        self.evaluation_ = evaluate(data, self.false_alarm)
        self.findings_ = self.evaluation_.findings

    def summary(self) -> dict[str, Any]:
        return self.evaluation_.summary


def _stage(data: Data, number: int) -> Stage:
    return Stage(
        PHASES[int(data["plan/phase"][number])],
        int(data["plan/cycle"][number]),
        int(data["plan/pulses"][number]),
        int(data["plan/pairs"][number]),
        float(data["plan/wait"][number]),
    )


def _norm(data: Data, number: int, array: Array) -> float:
    """Return the largest norm of a row, as last read; before the first read, that of weights all at their bounds."""
    if number == 0:
        return math.sqrt(array.n_in) * float(max(data["chip/w_max"], -data["chip/w_min"]))
    return float(data["weights/value"][number - 1].nan_to_num(0.0).norm(dim=1).max())


def _keep(data: Data, number: int, amplitude: float, reading: Reading) -> None:
    data["reads/amplitude"][number] = amplitude
    data["reads/vectors"][number], data["reads/reread"][number] = reading.vectors, reading.reread
    data["outputs/noise"][number], data["outputs/offset"][number] = reading.noise.float(), reading.offset.float()
    data["outputs/factor"][number] = reading.factor.float()
    data["weights/value"][number] = reading.weights.float()


def _read_floor(backend: CrossbarBackend, array: Array, data: Data, amplitude: float, seed: int) -> None:
    """Read one vector again and again: without input, and with inputs of random signs."""
    words = keyed.draw(keyed.key(seed, "characterise/floor", 0), np.arange(array.n_in), 0)
    signs = torch.from_numpy(1.0 - 2.0 * (words >> np.uint32(31)).astype(np.float32))
    for number, size in enumerate((0.0, amplitude)):
        values = backend.read_matvec(array, (size * signs).repeat(FLOOR_READS, 1)).values
        data["floor/reads"][number] = usable(values, f"reads of array {array.name!r}")
        data["floor/amplitude"][number] = size
