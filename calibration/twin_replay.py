"""Send a twin through the pulses of the characterisation that it was fitted to, for a picture of both."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.orthogonal import amplitude_for, pass_length, read_orthogonal
from rpudriver.calibration.sweep import PHASES, Stage, steps_of
from rpudriver.types import Array

SHOWN = 1  # the second sweep: in the first, chip and twin start from elsewhere


def second_sweep(data: dict[str, Any]) -> npt.NDArray[np.int64]:
    """Return the numbers of the reads of the second sweep, up and down."""
    legs = [PHASES.index(name) for name in ("up", "down")]
    shown = np.isin(np.asarray(data["plan/phase"]), legs) & (np.asarray(data["plan/cycle"]) == SHOWN)
    return np.flatnonzero(shown).astype(np.int64)


def replay(data: dict[str, Any], backend: CrossbarBackend, array: Array) -> npt.NDArray[np.float64]:
    """Return the weights of all devices of a twin in the second sweep of a characterisation, ``[D, K]``.

    Parameters
    ----------
    data : entries of the characterisation's data set.
    """
    shown = second_sweep(data)
    norm = math.sqrt(array.n_in) * max(data["chip/w_max"], -data["chip/w_min"])
    amplitude, weights = amplitude_for(backend, norm), []
    for k in range(int(shown[-1]) + 1):
        stage = Stage(PHASES[int(data["plan/phase"][k])], 0, int(data["plan/pulses"][k]), int(data["plan/pairs"][k]))
        steps = steps_of(stage, backend, array)
        if steps:
            backend.run(steps)
        if k in shown:
            passes = -(-int(data["reads/vectors"][k]) // pass_length(array))
            weights.append(read_orthogonal(backend, array, passes, amplitude, 0, k).weights.flatten().numpy())
    return np.stack(weights, 1)
