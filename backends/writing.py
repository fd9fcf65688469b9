"""Write-and-verify from pulses and reads: works on every chip that can do both."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from rpudriver.backends.validation import Limits
from rpudriver.errors import StepError
from rpudriver.keyed import arrays as keyed
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Cell, Port, Pulse, Read, Step

if TYPE_CHECKING:
    from rpudriver.backends.base import CrossbarBackend

ROUNDS = 12  # a soft bound lets a device take only a part of the way in each
PRECISION = 0.25  # wanted standard deviation of a read weight, in steps of a pulse
MOST_VECTORS = 2**13  # read for one estimate, where noise is large or the step is small
STALLED = 0.9  # a round that leaves more than this share of devices and of pulses was not worth it: stop
CHUNK = 4096  # vectors in one read
HALVINGS = 5


def read_weights(backend: "CrossbarBackend", array: Array, vectors: int | None = None) -> torch.Tensor:
    """Return an estimate of the weights ``[n_out, n_in]`` from inputs of +-1 on all columns at once.

    The inputs are the columns of a Hadamard matrix, orthogonal, so that every read tells of every weight: after v
    vectors the noise of one output has fallen by sqrt(v), where one-hot inputs need n_in times as many. Each pass of
    the matrix flips the columns by other signs, so that the rounding of the converter averages out like noise; only
    on a chip without read noise and with few columns does some of it stay.

    Parameters
    ----------
    vectors : int, optional
        How many to read, rounded up to whole passes; by default what makes the standard deviation a quarter of a
        pulse's step, up to 8192.
    """
    size = 1 << (array.n_in - 1).bit_length()
    passes = -(-(vectors or _needed(backend)) // size)
    signs = _signs(array.n_in, passes)
    matrix = hadamard(size)[:, : array.n_in]
    total = torch.zeros(array.n_out, array.n_in)
    at_once = max(1, CHUNK // size)
    for start in range(0, passes, at_once):
        x = (matrix * signs[start : start + at_once, None]).flatten(0, 1)
        total += _unsaturated(backend, array, x).t() @ x
    return total / (passes * size)


def _needed(backend: "CrossbarBackend") -> int:
    """Return how many vectors bring noise and rounding of one output down to the wanted precision."""
    c = backend.capabilities
    rounding = 0.0
    if c.output_bits is not None and c.output_bound is not None:
        rounding = c.output_bound / (2 ** (c.output_bits - 1) - 1) / 12**0.5
    sigma = (c.output_noise**2 + rounding**2) ** 0.5 / c.input_bound
    return min(MOST_VECTORS, max(1, int((sigma / (PRECISION * c.device.dw_min)) ** 2)))


def hadamard(size: int) -> torch.Tensor:
    """Return Sylvester's matrix, ``[size, size]`` of +-1 with orthogonal columns; `size` is a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def _signs(lines: int, passes: int) -> torch.Tensor:
    """Return +-1 for each pass and line, always the same ones."""
    words = keyed.draw(keyed.key(0, "read-weights", 0), np.arange(lines), np.arange(passes)[:, None])
    return torch.from_numpy(1.0 - 2.0 * (words >> np.uint32(31)).astype(np.float32))


def _unsaturated(backend: "CrossbarBackend", array: Array, x: torch.Tensor) -> torch.Tensor:
    """Return ``W x`` for inputs of +-1, on the CPU; outputs that saturate are read again with smaller inputs."""
    _, largest = (backend.status().limits or Limits()).within(backend.capabilities)
    size = _level(backend, largest)
    result = backend.run([Read(((array, 1.0),), x * size)])[0]
    out, wrong = result.values.cpu() / size, result.saturated.cpu()
    for _ in range(HALVINGS):
        again = wrong.any(1).nonzero()[:, 0]
        if not len(again):
            break
        size = _level(backend, size / 2)
        result = backend.run([Read(((array, 1.0),), x[again] * size)])[0]
        out[again] = torch.where(wrong[again], result.values.cpu() / size, out[again])
        wrong[again] &= result.saturated.cpu()
    return out


def _level(backend: "CrossbarBackend", size: float) -> float:
    """Return the nearest level of the input converter that is not above `size`, so that inputs are not rounded."""
    bits, bound = backend.capabilities.input_bits, backend.capabilities.input_bound
    if bits is None:
        return size
    levels = int(2 ** (bits - 1) - 1)
    return bound * max(1, math.floor(size / bound * levels * (1 + 1e-9))) / levels


def write_and_verify(backend: "CrossbarBackend", array: Array, target: torch.Tensor, port: Port) -> torch.Tensor:
    """Pulse each device by the nominal number of steps it misses, read, and repeat; see `CrossbarBackend.write`.

    A device that misses by less than half a step is left alone, so the error that remains is about half a step, plus
    what a device cannot reach within its own bounds.
    """
    if tuple(target.shape) != array.shape or not bool(torch.isfinite(target).all()):
        raise StepError(
            f"target for array {array.name!r} must be finite {list(array.shape)}; got {list(target.shape)}, "
            f"largest {float(target.abs().max()) if target.numel() else 0:g}"
        )
    nominal = backend.capabilities.device
    # one pulse up on the reference lowers the cell; a pair halves the difference of its devices
    sign = -1.0 if port is Port.REFERENCE else 1.0
    step = nominal.dw_min * (0.5 if array.cell is Cell.PAIR and port is Port.REFERENCE else 1.0)
    most = int(nominal.n_states) + 1  # no device has farther to go
    achieved = read_weights(backend, array)
    last = torch.full((2,), float("inf"))
    for _ in range(ROUNDS):
        counts = torch.round(sign * (target.detach().cpu() - achieved) / step).long().clamp(-most, most)
        missing = torch.stack([counts.count_nonzero(), counts.abs().sum()])  # devices and pulses
        if not bool(missing.any()) or bool((missing > STALLED * last).all()):
            break
        last = missing
        backend.run(_pulses(backend, array, counts, port))
        achieved = read_weights(backend, array)
    return achieved


def _pulses(backend: "CrossbarBackend", array: Array, counts: torch.Tensor, port: Port) -> list[Step]:
    """Return steps that give every device its own number of pulses, in trains no longer than may be sent."""
    longest, _ = (backend.status().limits or Limits()).within(backend.capabilities)
    steps: list[Step] = []
    while bool(counts.any()):
        now = counts.clamp(-longest, longest)
        steps.append(Pulse(array, counted_pulses(now), port=port))
        counts = counts - now
    return steps
