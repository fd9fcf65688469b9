"""Device-to-device variability: every parameter of every device, drawn once from the chip's seed."""

import numpy as np
import numpy.typing as npt

from rpudriver.backends.simulated.devices.response import Parameter
from rpudriver.backends.simulated.devices.spec import Device
from rpudriver.keyed import arrays as keyed
from rpudriver.keyed import native

Grid = npt.NDArray[np.float32]


def draw_devices(device: Device, seed: int, stream: str, n_out: int, n_in: int) -> dict[str, Grid]:
    """Return the parameters of ``n_out x n_in`` devices.

    Parameters
    ----------
    stream : str
        Names the array and port; each parameter draws from ``"{stream}/d2d/{parameter}"`` at step 0.

    Returns
    -------
    dict of float32 arrays ``[n_out, n_in]``
        ``dw_up``, ``dw_down``, ``w_max``, ``w_min``, ``alive`` (1 or 0), ``initial``, ``dw_nominal`` and the
        response's own parameters.
    """

    def normal(name: str) -> Grid:
        return native.gaussian_grid(seed, f"{stream}/d2d/{name}", 0, 1, n_out * n_in).reshape(n_out, n_in)

    def spread(name: str, parameter: Parameter) -> Grid:
        if parameter.d2d == 0:
            return np.full((n_out, n_in), parameter.mean, np.float32)
        xi = normal(name).astype(np.float64)
        if parameter.form == "log-normal":
            return np.asarray(parameter.mean * np.exp(parameter.d2d * xi - parameter.d2d**2 / 2), np.float32)
        return np.asarray(parameter.mean * np.maximum(1 + parameter.d2d * xi, 0.01), np.float32)

    p = {"w_max": spread("w_max", device.w_max), "w_min": spread("w_min", device.w_min)}
    dw = spread("dw_min", device.dw_min)
    imbalance = np.float32(device.up_down) + np.float32(device.up_down_d2d) * normal("up_down")
    imbalance = np.clip(imbalance, -0.99, 0.99)
    dead = np.zeros((n_out, n_in), np.bool_)
    if device.stuck.fraction:
        drawn = keyed.draw(keyed.key(seed, f"{stream}/d2d/stuck", 0), np.arange(n_out * n_in), 0)
        dead = (drawn < keyed.threshold(device.stuck.fraction)).reshape(n_out, n_in)
    p |= {"dw_up": dw * (1 + imbalance), "dw_down": dw * (1 - imbalance), "alive": (~dead).astype(np.float32)}
    p["initial"] = np.where(dead, np.clip(np.float32(device.stuck.value), p["w_min"], p["w_max"]), np.float32(0))
    p["dw_nominal"] = np.full((n_out, n_in), device.dw_min.mean, np.float32)
    return p | {name: spread(name, value) for name, value in device.response.parameters().items()}
