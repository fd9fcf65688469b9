"""A probe: one fresh pulse sequence for all devices, read in between. Twin and chip go through the same one."""

import json
import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.levels import output_step
from rpudriver.calibration.orthogonal import amplitude_for, pass_length, read_orthogonal
from rpudriver.calibration.procedure import Data, Procedure, Progress, setting
from rpudriver.calibration.sweep import Stage, check_budget, steps_of
from rpudriver.errors import UnsupportedError
from rpudriver.keyed import arrays as keyed
from rpudriver.types import Array

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
    """Pulses between two reads.

    Attributes
    ----------
    name : reset, up, down, alternating or random.
    runs : signed pulses, one run after the other.
    pairs : an up and a down pulse in turn, instead of runs.
    """

    name: str
    runs: tuple[int, ...] = ()
    pairs: int = 0

    @property
    def pulses(self) -> int:
        """Pulses that a device sees."""
        return 2 * self.pairs + sum(map(abs, self.runs))


@final
@dataclass(eq=False)
class Probe(Procedure):
    """Send all devices through one fresh pulse sequence and read them in between.

    Attributes
    ----------
    groups_ : tuple of `Group`, the sequence.
    reads_ : float32 tensor ``[G, n_out, n_in]``, the weights after each group; NaN in rows that always saturate.
    """

    name: ClassVar[str] = "probe"

    states: float | None = setting(
        None, "unit of the sequence's length, in pulses (default: the chip's nominal n_states)", within=(2, 1e7)
    )
    vectors: int | None = setting(
        None, "vectors of one read of all weights (default: to 2 per cent of the range)", within=(1, 2**24)
    )
    amplitude: float | None = setting(
        None, "size of the inputs (default: the largest at which outputs stay inside their bound)", within=(1e-9, 1e9)
    )

    def for_another(self) -> "Probe":
        """Return a probe that does on another chip exactly what this one did."""
        data = self.data_
        return Probe(self.seed, float(data["states"]), int(data["vectors"]), float(data["amplitude"]))

    def _check(self, backend: CrossbarBackend, array: Array) -> None:
        polarity = backend.capabilities.kinds["update"].polarity
        if polarity != "both":
            raise UnsupportedError(f"the chip's update pulses go {polarity} only; a probe needs both directions")
        check_budget(backend)

    def _start(self, backend: CrossbarBackend, array: Array) -> Data:
        device = backend.capabilities.device
        states = self.states or device.n_states
        norm = math.sqrt(array.n_in) * max(device.w_max, -device.w_min)  # of a row whose devices all are at a bound
        amplitude = self.amplitude or amplitude_for(backend, norm)
        passes = math.ceil((self.vectors or _vectors(backend, amplitude)) / pass_length(array))
        groups = sequence(states, self.seed)
        return {
            "states": states,
            "vectors": passes * pass_length(array),
            "amplitude": amplitude,
            "groups": json.dumps([[group.name, group.runs, group.pairs] for group in groups]),
            "reads": torch.full((len(groups), *array.shape), torch.nan),
            "done": 0,
        }

    def _advance(self, backend: CrossbarBackend, array: Array, data: Data) -> bool:
        done = int(data["done"])
        group = _groups(data)[done]
        stages = [Stage(group.name, pulses=run) for run in group.runs]
        stages += [Stage(group.name, pairs=group.pairs)] * bool(group.pairs)
        backend.run([step for stage in stages for step in steps_of(stage, backend, array)])
        passes = int(data["vectors"]) // pass_length(array)
        reading = read_orthogonal(backend, array, passes, float(data["amplitude"]), self.seed, done)
        data["reads"][done] = reading.weights.float()
        data["done"] = done + 1
        return bool(data["done"] == len(data["reads"]))

    def _progress(self, data: Data) -> Progress:
        return Progress(int(data["done"]), len(data["reads"]), "probe")

    def _conclude(self, data: Data) -> None:
        self.groups_, self.reads_ = _groups(data), data["reads"]

    def summary(self) -> dict[str, Any]:
        return {
            "groups": [{"name": group.name, "pulses": group.pulses} for group in self.groups_],
            "pulses_per_device": sum(group.pulses for group in self.groups_),
            "reads_of_all_weights": len(self.groups_),
            "vectors_per_read": int(self.data_["vectors"]),
        }


def sequence(states: float, seed: int) -> tuple[Group, ...]:
    """Return the sequence for devices of so many states: reset, up, down, alternating, random runs."""

    def run(share: float) -> int:
        return max(1, round(share * states))

    up = [Group("up", (run(share),)) for share in UP]
    down = [Group("down", (-run(share),)) for share in DOWN]
    alternating = [Group("alternating", pairs=run(share)) for share in ALTERNATING]
    words = keyed.draw(keyed.key(seed, "probe/run", np.arange(len(RANDOM))), np.arange(run(max(RANDOM)))[:, None], 0)
    random = [
        Group("random", _random_runs(words[:, n], run(share), run(LONGEST_RUN))) for n, share in enumerate(RANDOM)
    ]
    return (Group("reset", (-run(RESET),)), *up, *down, *alternating, *random)


def _random_runs(words: keyed.Words, pulses: int, longest: int) -> tuple[int, ...]:
    """Return runs of random sign and of a random length up to the longest that add up to so many pulses."""
    runs: list[int] = []
    left = pulses
    for word in words.tolist():
        length = min(left, 1 + (word >> 1) % longest)
        if not length:
            break
        runs.append(length if word & 1 else -length)
        left -= length
    return tuple(runs)


def _groups(data: Data) -> tuple[Group, ...]:
    return tuple(Group(name, tuple(runs), pairs) for name, runs, pairs in json.loads(data["groups"]))


def _vectors(backend: CrossbarBackend, amplitude: float) -> int:
    """Return how many vectors bring noise and rounding of one output down to the wanted precision."""
    chip = backend.capabilities
    noise2 = chip.output_noise**2 + output_step(chip) ** 2 / 12
    wanted = PRECISION * (chip.device.w_max - chip.device.w_min) * amplitude
    return max(1, math.ceil(noise2 / wanted**2))
