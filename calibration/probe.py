"""A probe: one fresh pulse sequence for all devices, read in between. Twin and chip go through the same one."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.writing import read_weights
from rpudriver.calibration.procedure import Data, Procedure, Progress, setting, usable
from rpudriver.errors import UnsupportedError
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Array, Pulse, PulseTrains

PRECISION = 0.02  # wanted standard deviation of a read weight, in ranges of the nominal device
RESET = 3.0  # pulses down beforehand, in n_states: exp(-6) of where a soft-bounds device came from is left
UP = (0.1, 0.15, 0.25, 0.5, 0.5)  # pulses of the runs, in n_states: short ones where the step is largest
DOWN = (0.1, 0.15, 0.25)
ALTERNATING = (0.5, 1.0)  # pairs of an up and a down pulse
RANDOM = (0.3, 0.3, 0.3, 0.3)  # pulses of random runs
LONGEST_RUN = 0.1


@final
@dataclass(frozen=True)
class Group:
    """Pulses between two reads: signed runs, one after the other, `repeat` times."""

    name: str
    runs: tuple[int, ...]
    repeat: int = 1

    @property
    def pulses(self) -> int:
        """Pulses that a device sees."""
        return self.repeat * sum(map(abs, self.runs))


@dataclass(eq=False)
class Probe(Procedure):
    """Send all devices through one fresh pulse sequence and read them in between.

    Attributes
    ----------
    groups_ : tuple of `Group`, the sequence.
    reads_ : float32 tensor ``[G, n_out, n_in]``, the weights after each group.
    states_, vectors_ : what a second probe needs to do the same on another chip.
    """

    name: ClassVar[str] = "probe"

    states: float | None = setting(
        None, "states of a device, the unit of the sequence's length (default: the chip's nominal)", within=(2, 1e7)
    )
    vectors: int | None = setting(
        None, "vectors of one read of all weights (default: to 2 %% of the range)", within=(1, 2**20)
    )

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        polarity = backend.capabilities.kinds["update"].polarity
        if polarity != "both":
            raise UnsupportedError(f"the chip's update pulses go {polarity} only; a probe needs both directions")

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        states = self.states or backend.capabilities.device.n_states
        groups = sequence(states, self.seed)
        return {
            "states": states,
            "vectors": self.vectors or _vectors(backend),
            "groups": json.dumps([[group.name, group.runs, group.repeat] for group in groups]),
            "reads": torch.full((len(groups), *array.shape), torch.nan),
            "done": 0,
        }

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        group = _groups(data)[data["done"]]
        for step in _steps(backend, array, group):
            backend.run([step])
        data["reads"][data["done"]] = usable(read_weights(backend, array, data["vectors"]), f"probe, {group.name}")
        data["done"] += 1
        return bool(data["done"] == len(data["reads"]))

    def _progress(self, data: Data) -> Progress:
        return Progress(data["done"], len(data["reads"]))

    def _conclude(self, data: Data) -> None:
        self.groups_, self.reads_ = _groups(data), data["reads"]
        self.states_, self.vectors_ = float(data["states"]), int(data["vectors"])

    def summary(self) -> dict[str, Any]:
        return {
            "groups": [{"name": group.name, "pulses": group.pulses} for group in self.groups_],
            "pulses_per_device": sum(group.pulses for group in self.groups_),
            "reads_of_all_weights": len(self.groups_),
            "vectors_per_read": self.vectors_,
        }


def sequence(states: float, seed: int) -> tuple[Group, ...]:
    """Return the sequence for devices of so many states: reset, up, down, alternating, up again, random runs."""

    def run(share: float) -> int:
        return max(1, round(share * states))

    up = [Group("up", (run(share),)) for share in UP]
    down = [Group("down", (-run(share),)) for share in DOWN]
    alternating = [Group("alternating", (1, -1), run(share)) for share in ALTERNATING]
    words = keyed.draw(keyed.key(seed, "probe/run", np.arange(len(RANDOM))), np.arange(run(RANDOM[0]))[:, None], 0)
    random = [
        Group("random", _random_runs(words[:, n], run(share), run(LONGEST_RUN))) for n, share in enumerate(RANDOM)
    ]
    return (Group("reset", (-run(RESET),)), *up, *down, *alternating, *random)


def _random_runs(words: keyed.Words, pulses: int, longest: int) -> tuple[int, ...]:
    """Return runs of random sign and of a random length up to the longest that add up to so many pulses."""
    runs: list[int] = []
    for word in words.tolist():
        left = pulses - sum(map(abs, runs))
        if not left:
            break
        length = min(left, 1 + (word >> 1) % longest)
        runs.append(length if word & 1 else -length)
    return tuple(runs)


def _groups(data: Data) -> tuple[Group, ...]:
    return tuple(Group(name, tuple(runs), repeat) for name, runs, repeat in json.loads(data["groups"]))


def _vectors(backend: CrossbarBackend) -> int:
    """Return how many vectors bring noise and rounding of one output down to the wanted precision."""
    c = backend.capabilities
    rounding = 0.0
    if c.output_bits is not None and c.output_bound is not None:
        rounding = c.output_bound / (2 ** (c.output_bits - 1) - 1) / 12**0.5
    wanted = PRECISION * (c.device.w_max - c.device.w_min) * backend.allowed[1]
    return max(1, int(np.ceil((c.output_noise**2 + rounding**2) / wanted**2)))


def _steps(backend: CrossbarBackend, array: Array, group: Group) -> list[Pulse]:
    """Return steps that give every device the pulses of a group, no longer than may be sent."""
    limits = backend.status().limits
    most = (limits and limits.max_device_pulses) or 2**31
    longest = min(backend.allowed[0], most)
    runs = [part for run in group.runs for part in _parts(run, longest)]
    if group.pulses <= most:
        return [Pulse(array, uniform_pulses(array, runs), repeat=group.repeat)]
    return [Pulse(array, uniform_pulses(array, [run])) for _ in range(group.repeat) for run in runs]


def _parts(run: int, longest: int) -> list[int]:
    sign, size = (1, run) if run > 0 else (-1, -run)
    return [sign * min(longest, size - start) for start in range(0, size, longest)]


def uniform_pulses(array: Array, runs: list[int]) -> PulseTrains:
    """Return deterministic trains in which every device sees the same signed runs; one sample a run."""
    bl = torch.tensor(runs).abs()
    words = -(-int(bl.max()) // 32)
    room = (bl[:, None] - 32 * torch.arange(words)).clamp(0, 32)
    fires = ((torch.ones_like(room) << room) - 1).to(torch.int32)[:, None, :]

    def lines(count: int) -> torch.Tensor:
        return fires.expand(-1, count, -1).contiguous().view(torch.uint32)

    negative = (torch.tensor(runs) < 0)[:, None].expand(-1, array.n_out).contiguous()
    upwards = torch.zeros(len(runs), array.n_in, dtype=torch.bool)
    return PulseTrains(lines(array.n_in), lines(array.n_out), upwards, negative, bl)
