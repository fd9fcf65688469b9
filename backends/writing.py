"""Write-and-verify from pulses and reads: works on every chip that can do both."""

from typing import TYPE_CHECKING

import torch

from rpudriver.errors import StepError
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Cell, Port, Pulse, Read

if TYPE_CHECKING:
    from rpudriver.backends.base import CrossbarBackend

AVERAGE = 64  # reads of a column that are averaged: read noise falls to an eighth
ROUNDS = 6
CHUNK = 4096  # vectors in one read


def read_weights(backend: "CrossbarBackend", array: Array, average: int = AVERAGE) -> torch.Tensor:
    """Return an estimate of the weights ``[n_out, n_in]``: each column read `average` times with a one-hot input."""
    total = torch.zeros(array.n_in, array.n_out)
    bound = backend.capabilities.input_bound
    one_hot = torch.eye(array.n_in) * bound
    block = max(1, CHUNK // array.n_in)
    for start in range(0, average, block):
        count = min(block, average - start)
        values = backend.run([Read(((array, 1.0),), one_hot.repeat(count, 1))])[0].values
        total += values.cpu().view(count, array.n_in, array.n_out).sum(0)
    return total.t() / (average * bound)


def write_and_verify(backend: "CrossbarBackend", array: Array, target: torch.Tensor, port: Port) -> torch.Tensor:
    """Pulse each device by the nominal number of steps it misses, read, and repeat; see `CrossbarBackend.write`.

    A round is kept for every device only while it misses by more than half a step, so a reached weight is left alone.
    """
    if tuple(target.shape) != array.shape or not bool(torch.isfinite(target).all()):
        raise StepError(
            f"target for array {array.name!r} must be finite {list(array.shape)}; got {list(target.shape)}, "
            f"largest {float(target.abs().max()) if target.numel() else 0:g}"
        )
    nominal, longest = backend.capabilities.device, backend.capabilities.longest_bl
    # one pulse up on the reference lowers the cell; a pair halves the difference of its devices
    sign = -1.0 if port is Port.REFERENCE else 1.0
    step = nominal.dw_min * (0.5 if array.cell is Cell.PAIR and port is Port.REFERENCE else 1.0)
    achieved = read_weights(backend, array)
    for _ in range(ROUNDS):
        counts = torch.round(sign * (target.cpu() - achieved) / step).long().clamp(-longest, longest)
        if not bool(counts.any()):
            break
        backend.run([Pulse(array, counted_pulses(counts), port=port)])
        achieved = read_weights(backend, array)
    return achieved
