"""The search for symmetry points: bursts of pulses towards and around the crossing, a read after each."""

import math
from dataclasses import dataclass
from typing import final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.capabilities import Nominal
from rpudriver.calibration.crossing import Crossing, Prior
from rpudriver.calibration.orthogonal import amplitude_for, pass_length, read_orthogonal
from rpudriver.calibration.procedure import Data
from rpudriver.calibration.sweep import Stage, steps_of
from rpudriver.trains import counted_pulses
from rpudriver.types import Array, Pulse, Step

NEAR = 0.1  # of a bound: from there on both steps are measured in turn; farther off the way there is what costs
PART = 0.8  # of the way is gone in one burst: the way back costs as much as the way
LONGEST = 6  # bursts in one, on the way
MOST_VECTORS = 8192  # of one read


@final
@dataclass(frozen=True)
class PointSearch:
    """One search; what it has measured lies in a group of the data, from which it goes on.

    Entries of the group, K bursts: ``counts`` int32 ``[K, n_out, n_in]`` (up where positive); ``reads``,
    ``points``, ``point_errors`` float32 ``[K + 1, n_out, n_in]``; ``read_errors`` float32 ``[K + 1, n_out]``;
    ``vectors`` int64 ``[K + 1]``; ``mean``, ``covariance``, ``misfit`` of `Crossing`.

    Parameters
    ----------
    group : name of the group.
    prior : see `Prior`.
    burst : pulses of a burst near the crossing.
    common : all devices get the same bursts, up and down in turn, every line firing; otherwise each has its own.
    seed : of the reads' inputs.
    """

    group: str
    prior: Prior
    burst: int
    common: bool
    seed: int

    def begin(self, backend: CrossbarBackend, array: Array, data: Data) -> None:
        """Make the first read."""
        self._put(data, "counts", torch.zeros(0, *array.shape, dtype=torch.int32))
        for name in ("reads", "points", "point_errors"):
            self._put(data, name, torch.zeros(0, *array.shape))
        self._put(data, "read_errors", torch.zeros(0, array.n_out))
        self._put(data, "vectors", torch.zeros(0, dtype=torch.int64))
        read, error = self._read(backend, array, data)
        self._keep(data, Crossing.start(self.prior, read, error))

    def advance(self, backend: CrossbarBackend, array: Array, data: Data, room: torch.Tensor) -> None:
        """Send one burst to each device, of at most `room` pulses ``[n_out, n_in]``, and read all.

        Rows whose output always saturates are left alone.
        """
        crossing, done = self.crossing(data), len(data[f"{self.group}/counts"])
        room = torch.where(data["rows/saturated"][:, None], 0, room)
        counts = self._common(room, done) if self.common else self._own(crossing, room)
        steps = _common_steps(backend, array, counts) if self.common else own_bursts(backend, array, counts)
        if steps:
            backend.run(steps)
        self._append(data, "counts", counts.int())
        read, error = self._read(backend, array, data)
        self._keep(data, crossing.pulsed(counts).seen(read, error))

    def crossing(self, data: Data) -> Crossing:
        """Return the estimate so far."""
        mean, covariance, misfit = (data[f"{self.group}/{name}"] for name in ("mean", "covariance", "misfit"))
        return Crossing(self.prior, mean, covariance, misfit)

    def begun(self, data: Data) -> bool:
        """Return whether `begin` was called."""
        return f"{self.group}/mean" in data

    def bursts(self, data: Data) -> int:
        """Return the number of bursts so far."""
        return len(data[f"{self.group}/counts"])

    def spent(self, data: Data) -> torch.Tensor:
        """Return the pulses of each device, int64 ``[n_out, n_in]``."""
        return torch.as_tensor(data[f"{self.group}/counts"].abs().sum(0, dtype=torch.int64))

    # ---- one burst and one read ---------------------------------------------------------------------------------

    def _common(self, room: torch.Tensor, done: int) -> torch.Tensor:
        size = min(self.burst, int(room.max()))
        return torch.full(room.shape, size if done % 2 == 0 else -size)

    def _own(self, crossing: Crossing, room: torch.Tensor) -> torch.Tensor:
        """Return pulses most of the way to the crossing; near it, bursts of the sign whose step is less known."""
        away, (up, down), (unsure_up, unsure_down) = crossing.away, crossing.steps, crossing.unsure
        far = away.abs() > NEAR * self.prior.bound
        near_sign = torch.where(unsure_up > unsure_down, 1.0, -1.0)
        sign = torch.where(far, away.sign(), near_sign)
        step = torch.where(sign > 0, up, down).clamp_min(0.2 * self.prior.device.dw_min)
        way = (PART * away.abs() / step).clamp(self.burst, LONGEST * self.burst)
        counts = torch.where(far, way, torch.full_like(way, self.burst)).round().long()
        return sign.long() * torch.minimum(counts, room)

    def _read(self, backend: CrossbarBackend, array: Array, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weights and their standard errors; those of saturated rows are zero within ten bounds."""
        device = self.prior.device
        wanted = max(device.c2c, 0.1) * device.dw_min * math.sqrt(self.burst)
        reading, error = read_all(backend, array, data, wanted, self.seed)
        self._append(data, "reads", reading.float())
        self._append(data, "read_errors", error.float())
        self._append(data, "vectors", torch.tensor([data["reads/vectors"]]))
        lost = data["rows/saturated"][:, None]
        error = torch.where(lost, 10 * self.prior.bound, error[:, None]).expand(array.shape)
        return torch.where(lost, 0.0, reading), error

    def _keep(self, data: Data, crossing: Crossing) -> None:
        for name in ("mean", "covariance", "misfit"):
            self._put(data, name, getattr(crossing, name))
        self._append(data, "points", crossing.point.float())
        self._append(data, "point_errors", crossing.error.float())

    def _put(self, data: Data, name: str, value: torch.Tensor) -> None:
        data[f"{self.group}/{name}"] = value

    def _append(self, data: Data, name: str, value: torch.Tensor) -> None:
        key = f"{self.group}/{name}"
        data[key] = torch.cat([data[key], value if name == "vectors" else value[None]])


def read_all(
    backend: CrossbarBackend, array: Array, data: Data, wanted: float, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read all weights to a standard error, with at most `MOST_VECTORS` vectors and at least one pass.

    Counts the reads in ``reads/done``, and keeps there what the next one needs: ``reads/norm``, the largest norm of a
    row. Rows that saturate whatever the input is are noted in ``rows/saturated``; ``reads/vectors`` is what it took.

    Returns
    -------
    weights float64 ``[n_out, n_in]`` (NaN in saturated rows), standard errors float64 ``[n_out]``.
    """
    chip = backend.capabilities
    step = 0.0
    if chip.output_bits is not None and chip.output_bound is not None:
        step = chip.output_bound / (2 ** (chip.output_bits - 1) - 1)
    amplitude = amplitude_for(backend, float(data["reads/norm"]))
    noise = math.hypot(chip.output_noise, step / math.sqrt(12)) / amplitude
    vectors = min(MOST_VECTORS, (noise / wanted) ** 2)
    passes = max(1, round(vectors / pass_length(array)))
    found = read_orthogonal(backend, array, passes, amplitude, seed, int(data["reads/done"]))
    lost = found.weights.isnan().any(1)
    norms = found.weights[~lost].norm(dim=1)
    data["reads/done"] = int(data["reads/done"]) + 1
    data["reads/norm"] = float(norms.max()) if len(norms) else 0.0
    data["reads/vectors"] = found.vectors
    data["rows/saturated"] = data["rows/saturated"] | lost
    # without noise the converter's rounding is left; a floor keeps a perfect chip's errors above zero
    floor = max(step / math.sqrt(12) / amplitude / math.sqrt(found.vectors), 1e-3 * chip.device.dw_min)
    return found.weights, (found.factor * found.noise).clamp_min(floor)


def first_norm(backend: CrossbarBackend, array: Array) -> float:
    """Return the norm of a row of weights that lie all over the nominal range."""
    device = backend.capabilities.device
    return math.sqrt(array.n_in / 3) * max(device.w_max, -device.w_min)


def burst_for(device: Nominal) -> int:
    """Return the length of a burst that moves the nominal device by 7 % of its bound, at least 3 pulses.

    Shorter ones cost more reads for the same pulses, longer ones lead away from the crossing.
    """
    return max(3, round(0.07 * min(device.w_max, -device.w_min) / device.dw_min))


def own_bursts(backend: CrossbarBackend, array: Array, counts: torch.Tensor) -> list[Step]:
    """Return steps that give every device its own number of pulses, in trains within the armed limits."""
    limits = backend.status().limits
    longest = min(backend.allowed[0], (limits.max_device_pulses if limits else None) or 2**31)
    steps: list[Step] = []
    while bool(counts.any()):
        now = counts.clamp(-longest, longest)
        steps.append(Pulse(array, counted_pulses(now)))
        counts = counts - now
    return steps


def _common_steps(backend: CrossbarBackend, array: Array, counts: torch.Tensor) -> list[Step]:
    return steps_of(Stage("burst", pulses=int(counts[0, 0])), backend, array)
