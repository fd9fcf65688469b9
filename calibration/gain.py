"""The gain of each output from a column whose weight is known: it turns effective weights into absolute ones."""

from dataclasses import dataclass
from typing import Self, final

import torch

from rpudriver.calibration.regression import Solution

SURE = 5.0  # standard errors by which a gain must differ from zero


@final
@dataclass(frozen=True, eq=False)
class Gain:
    """Gains and what they make of the weights; NaN and infinity where the reference column does not respond.

    Attributes
    ----------
    gain, gain_error : float64 tensors ``[n_out]``
    weights, error : float64 tensors ``[n_out, n_in]``, absolute.
    """

    gain: torch.Tensor
    gain_error: torch.Tensor
    weights: torch.Tensor
    error: torch.Tensor

    @classmethod
    def of(cls, found: Solution, column: int, known: float) -> Self:
        """Return the gains that a column of known weight tells."""
        gain, gain_error = found.weights[:, column] / known, found.error[:, column] / abs(known)
        sure = gain.abs() > SURE * gain_error
        weights = found.weights / gain[:, None]
        error = torch.hypot(found.error, weights * gain_error[:, None]) / gain.abs()[:, None]
        weights[:, column], error[:, column] = known, 0.0
        return cls(
            gain,
            gain_error,
            torch.where(sure[:, None], weights, torch.nan),
            torch.where(sure[:, None], error, torch.inf),
        )
