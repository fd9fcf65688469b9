"""True parameters of simulated devices with soft bounds, under the names of estimates."""

import numpy as np
import numpy.typing as npt

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.types import Array, Port


def truth_of(chip: CrossbarBackend, array: Array) -> dict[str, npt.NDArray[np.float64]]:
    """Return arrays ``[n_out * n_in]``; the steps are ``dw_up (1 - w / w_max)`` and ``dw_down (1 - w / w_min)``."""
    drawn = oracle(chip).device_parameters(array, Port.DEVICE)
    p = {name: value.double().cpu().numpy().ravel() for name, value in drawn.items()}
    point = (p["dw_up"] - p["dw_down"]) / (p["dw_up"] / p["w_max"] - p["dw_down"] / p["w_min"])
    step = p["dw_up"] * (1 - point / p["w_max"])
    return {
        "dw_up": p["dw_up"],
        "dw_down": p["dw_down"],
        "slope_up": -p["dw_up"] / p["w_max"],
        "slope_down": -p["dw_down"] / p["w_min"],
        "w_max": p["w_max"],
        "w_min": p["w_min"],
        "symmetry_point": point,
        "dw_min": step,
        "n_states": (p["w_max"] - p["w_min"]) / step,
        "c2c": np.full(len(point), chip.capabilities.device.c2c),
    }
