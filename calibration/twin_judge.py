"""Judge a twin: does it do what the chip does under the same fresh pulses? A kernel two-sample test over devices."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch

from rpudriver.calibration.findings import Finding, found_where
from rpudriver.calibration.probe import Probe
from rpudriver.calibration.two_sample import TwoSample, two_sample
from rpudriver.errors import CalibrationError
from rpudriver.keyed import arrays as keyed

DEVICES = 1000  # of each side, by default
NAMED = 10
MOVING = ("up", "down", "random")  # groups of which the movement counts, not where they end
ALIKE = 5.0  # standard deviations of the F ratio beyond which devices of a line are called alike

Floats = npt.NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Judgement:
    """What the judge found.

    Attributes
    ----------
    test : the two-sample test.
    places : int64 array ``[N, 2]``, row and column of each device of the chip that was compared.
    worst : places of the devices that match worst, with their witness, worst first.
    findings : what is wrong with the match or with the test's premises.
    """

    test: TwoSample
    places: npt.NDArray[np.int64]
    worst: tuple[tuple[int, int, float], ...]
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return documented plain values, for JSON."""
        worst = [{"row": row, "column": column, "witness": value} for row, column, value in self.worst]
        return {
            "mmd2": self.test.mmd2,
            "p": self.test.p,
            "permutations": len(self.test.null),
            "devices": len(self.places),
            "bandwidths": list(self.test.bandwidths),
            "witness_threshold": self.test.threshold,
            "worst_devices": worst,
        }


def judge(chip: Probe, twin: Probe, devices: int = DEVICES, permutations: int = 999, seed: int = 0) -> Judgement:
    """Compare what the devices of a chip and those of its twin did in one and the same probe.

    A device is a point: where reset and alternating pulses left it (its lower bound and its symmetry point), and how
    far each other group moved it, every coordinate over its spread among all points. Under the hypothesis that the
    twin is right, all points are independent draws from one distribution: devices of an array differ independently,
    all of them saw the same pulses, and reads by orthogonal inputs leave independent errors on the weights of a row.
    Where devices of a line are more alike than that, a finding says so, since p then is too small.

    Parameters
    ----------
    chip, twin : fitted, of the same sequence.
    devices : how many of each side are drawn and compared; all where there are fewer.

    Raises
    ------
    CalibrationError
        If the two did not go through the same probe, or if nothing moved.
    """
    if chip.for_another().settings() != twin.for_another().settings():
        raise CalibrationError("chip and twin went through different probes; make the twin's with for_another()")
    places, others = _chosen(chip, devices, seed, "chip"), _chosen(twin, devices, seed, "twin")
    x, y = standardised(_points(chip, places), _points(twin, others))
    test = two_sample(x, y, permutations, seed)
    order = np.argsort(-test.witness, kind="stable")
    worst = tuple((int(places[n, 0]), int(places[n, 1]), float(test.witness[n])) for n in order[:NAMED])
    beyond = tuple((row, column) for row, column in places[test.witness > test.threshold].tolist())
    findings = _unread(chip) + _alike(chip)
    if beyond:
        findings += (Finding("unlike-twin", "more such devices on the chip than in the twin, beyond chance", beyond),)
    return Judgement(test, places, worst, findings)


def _chosen(probe: Probe, devices: int, seed: int, side: str) -> npt.NDArray[np.int64]:
    """Return the rows and columns of devices drawn at random from those that could be read."""
    cells = np.flatnonzero(torch.isfinite(probe.reads_).all(0).numpy())
    words = keyed.draw(keyed.key(seed, f"judge/{side}", 0), cells, 0)
    drawn = np.sort(cells[np.argsort(words, kind="stable")[:devices]])
    n_in = probe.reads_.shape[2]
    return np.stack([drawn // n_in, drawn % n_in], 1)


def _unread(probe: Probe) -> tuple[Finding, ...]:
    rows = ~torch.isfinite(probe.reads_).all(2).all(0)
    return found_where("saturated-output", "an output that always saturates; its devices are not judged", rows)


def _points(probe: Probe, places: npt.NDArray[np.int64]) -> Floats:
    """Return ``[N, G]``: where reset and alternating pulses left each device, and how far the others moved it."""
    reads = probe.reads_.numpy().astype(np.float64)[:, places[:, 0], places[:, 1]]
    points = reads.copy()
    for n, group in enumerate(probe.groups_):
        if group.name in MOVING:
            points[n] -= reads[n - 1]
    return np.ascontiguousarray(points.T)


def standardised(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return both samples, each coordinate over its spread among all points (half of the central 68 %)."""
    pooled = np.concatenate([x, y])
    low, high = np.quantile(pooled, [0.16, 0.84], axis=0)
    spread = np.where(high > low, (high - low) / 2, pooled.std(0))
    moved = spread > 0
    if not moved.any():
        raise CalibrationError(
            "all devices of chip and twin did exactly the same, or none moved: without a spread there is nothing to "
            "judge by; is the array pulsed and read?"
        )
    centre = np.median(pooled, axis=0)
    return (x - centre)[:, moved] / spread[moved], (y - centre)[:, moved] / spread[moved]


def _alike(probe: Probe) -> tuple[Finding, ...]:
    """Return findings where devices of a line are more alike than independent ones (analysis of variance)."""
    moves = torch.diff(probe.reads_.double(), dim=0)
    moves = moves[:, torch.isfinite(moves).all(2).all(0)]
    found: tuple[Finding, ...] = ()
    for line, grid in (("row", moves), ("column", moves.transpose(1, 2))):
        _, lines, across = grid.shape
        if lines < 2 or across < 2:
            continue
        ratio = across * grid.mean(2).var(1) / grid.var(2).mean(1).clamp_min(1e-30)
        by_chance = math.sqrt(2 / (lines - 1) + 2 / (lines * (across - 1)))
        if float(ratio.max()) > 1 + ALIKE * by_chance:
            text = (
                f"devices of a {line} are more alike than those of different {line}s "
                f"(F ratio {float(ratio.max()):.2f}); "
                "a twin draws devices independently, so p is too small"
            )
            found += (Finding(f"{line}s-differ", text, ()),)
    return found
