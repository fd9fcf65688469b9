"""A chip that only counts: for dry runs, cost estimates and tests of the contract."""

from collections.abc import Sequence
from typing import Any

import torch

from rpudriver.backends.base import CrossbarBackend, Numbered
from rpudriver.backends.simulated.options import fingerprint, parse_options
from rpudriver.types import Array, Read, ReadResult, Scan


class NullBackend(CrossbarBackend):
    """Validates, numbers and meters like every chip; pulses change nothing and reads return zeros."""

    takes_scans = True

    def _allocate(self, array: Array) -> None:
        pass

    def _execute(self, steps: Sequence[Numbered]) -> Sequence[ReadResult]:
        return [_zeros(numbered.step) for numbered in steps if isinstance(numbered.step, Read | Scan)]

    def _save(self, array: Array) -> dict[str, torch.Tensor]:
        return {}

    def _load(self, array: Array, state: dict[str, torch.Tensor]) -> None:
        pass


def _zeros(step: Read | Scan) -> ReadResult:
    if isinstance(step, Scan):
        shape, device = (len(step.columns), step.array.n_out), step.trains.device
    else:
        array = step.terms[0][0]
        shape, device = (len(step.x), array.n_in if step.transposed else array.n_out), step.x.device
    return ReadResult(torch.zeros(shape, device=device), torch.zeros(shape, dtype=torch.bool, device=device))


def open_null(**options: Any) -> NullBackend:
    """Open a `NullBackend` with the capabilities of a preset and a profile; see `SimulatorOptions`.

    Raises
    ------
    ConfigError
        If an option, the preset or the profile cannot be used.
    """
    parsed = parse_options("null", options)
    preset, capabilities = parsed.load()
    return NullBackend(capabilities, fingerprint("null", parsed, preset, capabilities))
