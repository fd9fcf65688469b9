"""Which kernel serves a device, and the device parameters in the order in which kernels read them."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import torch

from rpudriver.backends.simulated.devices.constant import ConstantStep
from rpudriver.backends.simulated.devices.exponential import Exponential
from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.devices.power import Power
from rpudriver.backends.simulated.devices.soft_bounds import SoftBounds
from rpudriver.backends.simulated.devices.spec import Device
from rpudriver.backends.simulated.kernels import dense, sparse, steps
from rpudriver.keyed.compilation import announced

Floats = npt.NDArray[np.float32]
Parameters = Mapping[str, torch.Tensor]
# Without instructions that gather and scatter sixteen words, vectors are slower than one device after the other.
GATHERS = bool(llvm.get_host_cpu_features().get("avx512f", False))
NAMES = {
    steps.CONSTANT: "constant-step",
    steps.SOFT_BOUNDS: "soft-bounds",
    steps.LINEAR: "linear",
    steps.POWER: "power-law",
    steps.EXPONENTIAL: "exponential",
    steps.MEASURED: "measured",
}


def family_of(device: Device, parameters: Parameters) -> int | None:
    """Return the constant of `steps` that stands for a device's response, or None where no kernel has it."""
    match device.response:
        case ConstantStep():
            return steps.CONSTANT
        case SoftBounds():
            return steps.SOFT_BOUNDS
        case Power() if bool((parameters["gamma"] == 1).all()):
            return steps.LINEAR
        case Power() if bool((parameters["gamma"] > 0).all()):
            return steps.POWER
        case Exponential() if bool((parameters["gamma"] != 0).all()):
            return steps.EXPONENTIAL
        case Measured():
            return steps.MEASURED
    return None


def form_of(device: Device) -> int:
    """Return the constant of `steps` that stands for a device's cycle-to-cycle noise."""
    spreads = isinstance(device.response, Measured) and device.response.dw_spread
    if spreads or (device.c2c_additive and device.c2c):
        return steps.GENERAL
    if device.c2c_additive:
        return steps.ADDITIVE
    return steps.MULTIPLICATIVE if device.c2c else steps.QUIET


def rows_of(family: int | None, p: Parameters) -> Floats:
    """Return ``[rows, cells]``: steps up and down (0 for dead devices), bounds, and what the family needs besides.

    That is one over the weights at which steps up and down end, and gamma and ``1 / (exp(gamma) - 1)``.
    """
    count = {steps.CONSTANT: 4, steps.MEASURED: 4, None: 4, steps.POWER: 8, steps.EXPONENTIAL: 8}.get(family, 6)
    rows = torch.empty(count, p["dw_up"].numel())
    for row, values in zip(rows, _rows(family, p), strict=True):
        row.copy_(values)  # one at a time: arrays may be large
    return rows.numpy()


def _rows(family: int | None, p: Parameters) -> Iterator[torch.Tensor]:
    yield p["dw_up"] * p["alive"]
    yield p["dw_down"] * p["alive"]
    yield p["w_max"]
    yield p["w_min"]
    if family == steps.SOFT_BOUNDS:
        yield 1.0 / p["w_max"]
        yield 1.0 / p["w_min"]
    elif family in (steps.LINEAR, steps.POWER, steps.EXPONENTIAL):
        yield 1.0 / p["tau"]
        yield -1.0 / p["tau"]
    if family in (steps.POWER, steps.EXPONENTIAL):
        yield p["gamma"]
        yield (1.0 / torch.expm1(p["gamma"].double())).to(p["gamma"])


@cache
def dense_kernel(family: int, form: int) -> Any:
    """Return the dense kernel of a family and a form of noise."""
    return announced(dense.build(family, form), f"the update kernel for {NAMES[family]} devices")


@cache
def sparse_kernel(family: int, form: int, in_vectors: bool = GATHERS) -> Any:
    """Return the sparse kernel of a family and a form of noise."""
    return announced(sparse.build(family, form, in_vectors), f"the sparse update kernel for {NAMES[family]} devices")
