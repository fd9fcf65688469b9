"""What evaluation reads out of a sweep's data set: reads in order, their errors, legs, ends, the noise floor."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from rpudriver.calibration import kalman
from rpudriver.calibration.procedure import Data
from rpudriver.calibration.sweep import HOLDS, PHASES

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUARTER = 4  # the last quarter of a leg counts as its end
EXACT = 1e-2  # of a step: least error of a read, so that exact reads have a likelihood too
ARRIVED = 0.01  # change in it, in parts of the range, below which a device is at its bound


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """K reads of D devices; the reads of the first state are made one, those after waiting are left out.

    Attributes
    ----------
    weights, error : float64 ``[D, K]``, as read, and their standard errors.
    kinds, counts : int64 ``[S]``, the kinds of stages that occur, see `kalman`.
    stage : int64 ``[K]``, which of them came before each read; that of the first read says nothing.
    cycle : int64 ``[K]``, of the sweep, or of the run of alternating pulses.
    legs : the reads of each leg up (`kalman.UP`) and down (`kalman.DOWN`).
    step : nominal step.
    """

    weights: Floats
    error: Floats
    kinds: Ints
    counts: Ints
    stage: Ints
    cycle: Ints
    legs: dict[int, list[Ints]]
    step: float

    def kind(self) -> Ints:
        """Return the kind of the stage before each read."""
        return np.asarray(self.kinds[self.stage])

    def count(self) -> Ints:
        """Return the pulses or pairs before each read."""
        return np.asarray(self.counts[self.stage])

    def end(self, kind: int) -> tuple[Floats, Floats]:
        """Return where legs of a kind end ``[D]``, and the standard error by scatter or read noise, the larger."""
        parts = [leg[-max(1, len(leg) // QUARTER) :] for leg in self.legs[kind]]
        reads = np.concatenate(parts)
        values, noise = self.weights[:, reads], self.error[:, reads]
        about = [self.weights[:, part] - self.weights[:, part].mean(1, keepdims=True) for part in parts]
        freedom = len(reads) - len(parts)
        scatter = np.sqrt(np.square(np.concatenate(about, 1)).sum(1) / max(1, freedom)) if freedom else 0.0
        size = np.maximum(scatter, np.sqrt(np.square(noise).mean(1)))
        return values.mean(1), size / np.sqrt(len(reads))

    def arrived(self, kind: int) -> npt.NDArray[np.bool_]:
        """Return which devices move no more in the last quarter of their legs of a kind, ``[D]``."""
        change, error2 = np.zeros(len(self.weights)), np.zeros(len(self.weights))
        for leg in self.legs[kind]:
            last = leg[-max(2, len(leg) // QUARTER) :]
            for sign, part in ((-1, last[: len(last) // 2]), (1, last[len(last) // 2 :])):
                change += sign * self.weights[:, part].mean(1)
                error2 += np.square(self.error[:, part]).mean(1) / len(part)
        reach = np.abs(self.end(kalman.UP)[0] - self.end(kalman.DOWN)[0])
        return np.asarray(np.abs(change) < np.maximum(3.0 * np.sqrt(error2), ARRIVED * reach * len(self.legs[kind])))

    def of(self, devices: Any) -> "Sweep":
        """Return the sweep of some devices."""
        values = self.weights[devices], self.error[devices]
        return Sweep(*values, self.kinds, self.counts, self.stage, self.cycle, self.legs, self.step)


def read_errors(data: Data) -> npt.NDArray[np.float32]:
    """Return the standard error of a weight in each row and read, ``[K, n_out]``.

    The noise of an output is the same in all reads, so it is averaged over them. Where it is less than half a step
    of the converter, rounding repeats itself in the sums of pairs in part and may not show: its full variance
    ``step^2 / 12`` is added then.
    """
    done, step = int(data["plan/done"]), float(data["chip/output_step"])
    noise2 = data["outputs/noise"][:done].double().square().nanmean(0).numpy()
    noise2 = noise2 + np.where(noise2 < (step / 2) ** 2, step**2 / 12, 0.0)
    error = np.sqrt(noise2) * data["outputs/factor"].double().numpy()
    return np.asarray(np.maximum(error, EXACT * float(data["chip/dw_min"])), np.float32)


def sweep_of(data: Data) -> Sweep:
    """Return the sweep in a data set whose errors are known (``weights/error``)."""
    phase = data["plan/phase"].numpy()
    pulses, pairs = data["plan/pulses"].numpy(), data["plan/pairs"].numpy()
    values, error = data["weights/value"].numpy(), data["weights/error"].numpy()
    used = np.flatnonzero(phase != PHASES.index("wait"))[HOLDS:]
    n_in = values.shape[2]
    first = values[:HOLDS].astype(np.float64).mean(0, keepdims=True)
    first_error = np.sqrt(np.square(error[:HOLDS].astype(np.float64)).sum(0, keepdims=True)) / HOLDS
    weights = np.concatenate([first, values[used]]).reshape(len(used) + 1, -1)
    errors = np.repeat(np.concatenate([first_error, error[used]])[:, :, None], n_in, 2).reshape(len(used) + 1, -1)
    kind = np.select([pulses > 0, pulses < 0, pairs > 0], [kalman.UP, kalman.DOWN, kalman.PAIRS], kalman.NONE)
    pair = np.stack([kind, np.abs(pulses) + pairs], 1)[used]
    table, stage = np.unique(pair, axis=0, return_inverse=True)
    place, cycle = phase[used], data["plan/cycle"].numpy()[used]
    legs = {
        way: [1 + np.flatnonzero((place == PHASES.index(name)) & (cycle == number))
              for number in np.unique(cycle[place == PHASES.index(name)])]
        for way, name in ((kalman.UP, "up"), (kalman.DOWN, "down"))
    }  # fmt: skip
    return Sweep(
        np.ascontiguousarray(weights.T, np.float64),
        np.ascontiguousarray(errors.T, np.float64),
        np.ascontiguousarray(table[:, 0], np.int64),
        np.ascontiguousarray(table[:, 1], np.int64),
        np.concatenate([[0], stage.ravel()]).astype(np.int64),
        np.concatenate([[0], cycle]),
        legs,
        float(data["chip/dw_min"]),
    )
