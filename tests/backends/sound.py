"""The sound chip that the mutants are made from: the simulated one, with room for faults in its hooks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from rpudriver.backends.base import Numbered
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.backends.simulated.options import SimulatorOptions
from rpudriver.types import Pulse, Read, ReadResult, Step

OPTIONS = SimulatorOptions(preset="asymmetric-100")


class Sound(SimulatedBackend):
    """The chip that the mutants are made from; `device` and `read` change the truth, not what is declared."""

    device: ClassVar[dict[str, Any]] = {}
    read: ClassVar[dict[str, Any]] = {}

    def __init__(self, seed: int = 0) -> None:
        _, declared = OPTIONS.load()
        preset, _ = SimulatorOptions(preset=OPTIONS.preset, device=self.device, read=self.read).load()
        super().__init__(preset, declared, seed, "mutant", torch.device("cpu"))

    def _execute(self, steps: Sequence[Numbered]) -> list[ReadResult]:
        return super()._execute([replace(numbered, step=self.send(numbered.step)) for numbered in steps])

    def send(self, step: Step) -> Step:
        """Return the step that is really sent."""
        if isinstance(step, Pulse):
            return self.pulse(step)
        return self.look(step) if isinstance(step, Read) else step

    def pulse(self, step: Pulse) -> Pulse:
        return step

    def look(self, step: Read) -> Read:
        return step
