"""What a zero shift has come to, in numbers."""

import math
from typing import Any

import torch

from rpudriver.calibration.procedure import Data

VERIFIED = ("verify/a", "verify/b")  # two independent measurements: their product is free of their own noise
WELL_KNOWN = 1.5  # of the median standard error: devices that count for the noise-free residual
MEASURED = ("search", "alternate")  # the group of either method


def verified_residual(data: Data, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where the points now lie by verification, and the standard error; NaN where there was none."""
    found = _verifications(data, reference)
    if not found:
        return torch.full_like(reference, torch.nan), torch.full_like(reference, torch.nan)
    errors = [data[f"{group}/point_errors"][-1] for group in VERIFIED]
    return torch.stack(found).mean(0), torch.stack(errors).square().sum(0).sqrt() / 2


def _verifications(data: Data, reference: torch.Tensor) -> list[torch.Tensor]:
    lost = data["rows/saturated"][:, None]
    groups = [group for group in VERIFIED if f"{group}/points" in data]
    return [torch.where(lost, torch.nan, data[f"{group}/points"][-1] - reference) for group in groups]


def true_rms(data: Data, reference: torch.Tensor, chosen: torch.Tensor) -> tuple[float, float]:
    """Return the root mean square of the residual without the noise of its verification, and its standard error.

    Both verifications see the same residual with independent errors, so the mean of their product is its mean
    square. It may come out below zero where there is little: then it is zero, within the error.

    Parameters
    ----------
    chosen : bool tensor ``[n_out, n_in]``, devices that count: where a verification knows little its prior speaks,
        and that is the same in both.
    """
    a, b = (found[chosen].double() for found in _verifications(data, reference))
    product = a * b
    mean, error = float(product.mean()), float(product.std()) / math.sqrt(max(1, len(product)))
    root = math.sqrt(max(0.0, mean))
    return root, error / (2 * root) if root**2 > error else math.sqrt(error)


def summary_of(
    data: Data, reference: torch.Tensor, residual: torch.Tensor, residual_error: torch.Tensor, live: torch.Tensor
) -> dict[str, Any]:
    """Return the results as plain numbers; docs/calibration.md tells what they are."""
    pulses, points, errors = (data[f"found/{name}"][live] for name in ("pulses", "points", "errors"))
    (group,) = (name for name in MEASURED if f"{name}/vectors" in data)
    result: dict[str, Any] = {
        "devices": live.numel(),
        "live": int(live.sum()),
        "pulses": {"mean": _mean(pulses), "median": _median(pulses), "most": int(pulses.max()) if len(pulses) else 0},
        "vectors": {"measure": int(data[f"{group}/vectors"].sum())},
        "points": {"mean": _mean(points), "sd": _sd(points)},
        "point_error": {"median": _median(errors), "p95": _quantile(errors, 0.95)},
    }
    if "reference/achieved" in data:
        missed = (data["reference/achieved"] - data["reference/wanted"])[live].abs()
        result["vectors"]["reference"] = data["reference/vectors"]
        result["reference"] = {
            "coincidences": data["reference/coincidences"],
            "missed_median": _median(missed),
            "missed_p95": _quantile(missed, 0.95),
        }
    if not bool(residual.isnan().all()):
        size, error = residual[live].abs(), residual_error[live]
        result["vectors"]["verify"] = sum(int(data[f"{group}/vectors"].sum()) for group in VERIFIED)
        chosen = live & (residual_error < WELL_KNOWN * error.median()) if len(error) else live
        rms, rms_error = true_rms(data, reference, chosen) if int(chosen.sum()) > 1 else (None, None)
        result["residual"] = {
            "median": _median(size), "p95": _quantile(size, 0.95), "error_median": _median(error),
            "rms": rms, "rms_error": rms_error, "rms_devices": int(chosen.sum()),
        }  # fmt: skip
    return result


def _quantile(values: torch.Tensor, q: float) -> float | None:
    known = values[~values.isnan()].double()
    if not len(known):
        return None
    order, place = known.sort().values, q * (len(known) - 1)
    low = int(place)
    return float(torch.lerp(order[low], order[min(low + 1, len(order) - 1)], place - low))


def _median(values: torch.Tensor) -> float | None:
    return _quantile(values.double(), 0.5)


def _mean(values: torch.Tensor) -> float | None:
    known = values.double()[~values.double().isnan()]
    return float(known.mean()) if len(known) else None


def _sd(values: torch.Tensor) -> float | None:
    known = values[~values.isnan()].double()
    return float(known.std()) if len(known) > 1 else None
