"""Send a twin through the pulses of the characterisation that it was fitted to, for a picture of both."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.orthogonal import amplitude_for, pass_length, read_orthogonal
from rpudriver.calibration.sweep import PHASES, Stage, steps_of
from rpudriver.types import Array

CYCLES = 2  # the second sweep is shown: in the first, chip and twin start from elsewhere


def replay(data: dict[str, Any], backend: CrossbarBackend, array: Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the numbers of the stages that were carried out and the weights after them, ``[K']`` and ``[D, K']``.

    Parameters
    ----------
    data : entries of a characterisation's data set.
    """
    chosen = np.flatnonzero(np.asarray(data["plan/cycle"]) < CYCLES)
    norm = math.sqrt(array.n_in) * max(data["chip/w_max"], -data["chip/w_min"])
    weights = []
    for k in chosen.tolist():
        backend.run(steps_of(_stage(data, k), backend, array))
        passes = -(-int(data["reads/vectors"][k]) // pass_length(array))
        reading = read_orthogonal(backend, array, passes, amplitude_for(backend, norm), 0, k)
        weights.append(reading.weights.flatten().numpy())
    return chosen, np.stack(weights, 1)


def _stage(data: dict[str, Any], k: int) -> Stage:
    return Stage(PHASES[int(data["plan/phase"][k])], 0, int(data["plan/pulses"][k]), int(data["plan/pairs"][k]))
