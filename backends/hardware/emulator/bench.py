"""An emulated bench: a source-measure unit, a gate source and a switch matrix around simulated devices."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from rpudriver.backends.closing import Closing
from rpudriver.backends.hardware.emulator import child
from rpudriver.backends.hardware.emulator.oracle import ChipOracle
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.errors import ConfigError

PROCESS = "rpudriver.backends.hardware.emulator.bench_process"


@final
class EmulatedBench(Closing):
    """Instruments at `addresses`, by model, as VISA resource names.

    Parameters
    ----------
    chip : name or file of a chip profile with a [bench] table.
    preset : device preset; `device` and `read` replace keys of it.
    seed : of the devices and their noise.
    ports : TCP ports of the 2450, the 2602B and the 3706A; 0 takes a free one.
    line_ohms : of `EmulatedChip`.

    Raises
    ------
    ConfigError
        If the profile or the preset is not to be had, or the chip does not fit the bench.
    """

    def __init__(
        self,
        chip: str = "bench-8",
        preset: str = "asymmetric-100",
        *,
        seed: int = 0,
        device: dict[str, Any] | None = None,
        read: dict[str, Any] | None = None,
        ports: Sequence[int] = (0, 0, 0),
        line_ohms: float = 0.0,
    ) -> None:
        self.profile = load_chip(chip)
        if self.profile.bench is None:
            raise ConfigError(f"chip {chip!r} has no [bench] table, so it is not on a bench; try bench-8")
        options = {"chip": chip, "preset": preset, "seed": seed, "device": device or {}, "read": read or {}}
        options |= {"middle_siemens": self.profile.bench.middle_siemens, "ports": ports, "line_ohms": line_ohms}
        self._scratch = tempfile.TemporaryDirectory(prefix="rpudriver-bench-")
        path = Path(self._scratch.name) / "chip"
        try:
            self._process, told = child.start(PROCESS, [str(path), json.dumps(options)])
        except BaseException:
            self._scratch.cleanup()
            raise
        self.addresses: dict[str, str] = json.loads(told)
        self.oracle = ChipOracle(path, (self.profile.rows, self.profile.columns))

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._process.poll() is None

    @property
    def options(self) -> dict[str, str]:
        """Options of the backend ``scpi-bench`` that lead here."""
        return dict(zip(("source", "gates", "matrix"), self.addresses.values(), strict=True))

    def weights(self, array: int = 0) -> npt.NDArray[np.float32]:
        """Return the true weights ``[rows, columns]`` of a physical array, for tests."""
        return self.oracle.weights(array)

    def close(self) -> None:
        """End the process, chip and all; closing twice is harmless."""
        self.oracle.close()
        child.end(self._process)
        self._scratch.cleanup()
