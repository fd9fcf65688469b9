"""An emulated board: the firmware and its chip as two processes, started, killed and started again."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from rpudriver.backends.closing import Closing
from rpudriver.backends.hardware.emulator import child
from rpudriver.backends.hardware.emulator.oracle import ChipOracle
from rpudriver.backends.hardware.firmware.build import build_host
from rpudriver.backends.hardware.profile import ChipProfile, load_chip
from rpudriver.errors import LinkLostError

CHIP = "rpudriver.backends.hardware.emulator.process"
PORT_S = 10.0


@final
class EmulatedBoard(Closing):
    """A board at `port`, a link to a pseudo-terminal that stays when the firmware is started again.

    Parameters
    ----------
    chip : name or file of a chip profile.
    preset : device preset; `device` and `read` replace keys of it.
    seed : of the devices and their noise.
    folder : where port, sockets and the counters of the board lie; by default one that goes when it is closed.
    sanitize : firmware with the address and undefined-behaviour sanitizers.
    physics : `disturb`, `line_ohms` and `middle_siemens` of `EmulatedChip`.

    Raises
    ------
    ConfigError
        If the profile, the preset or a C compiler is not to be had.
    """

    def __init__(
        self,
        chip: str = "emulated-64",
        preset: str = "asymmetric-100",
        *,
        seed: int = 0,
        device: dict[str, Any] | None = None,
        read: dict[str, Any] | None = None,
        folder: Path | None = None,
        sanitize: bool = False,
        **physics: float,
    ) -> None:
        self.profile = load_chip(chip)
        self._scratch = tempfile.TemporaryDirectory(prefix="rpudriver-board-")
        self.folder = folder or Path(self._scratch.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._socket = Path(self._scratch.name) / "chip"
        self.port = str(self.folder / "port")
        self._binary = build_host(None, sanitize, "host", **board_defines(self.profile))
        options = {"chip": chip, "preset": preset, "seed": seed, "device": device or {}, "read": read or {}, **physics}
        self._firmware: subprocess.Popen[bytes] | None = None
        try:
            self._chip, _ = child.start(CHIP, [str(self._socket), json.dumps(options)])
        except BaseException:
            self._scratch.cleanup()
            raise
        try:
            self.oracle = ChipOracle(self._socket, (self.profile.rows, self.profile.columns))
            self.start_firmware()
        except BaseException:
            self.close()
            raise

    def start_firmware(self) -> None:
        """Switch the board on; a board that is on is left alone."""
        if self.running:
            return
        c = self.profile.converters
        Path(self.port).unlink(missing_ok=True)
        options = {
            "--chip": self._socket,
            "--store": self.folder / "counters",
            "--link": self.port,
            "--volts-per-rail-code": c.volts_per_rail_code,
            "--volts-per-input-code": c.volts_per_input_code,
            "--volts-per-gate-code": c.volts_per_gate_code,
            "--amperes-full-scale": c.amperes_full_scale,
            "--amperes-per-compliance-code": c.amperes_per_compliance_code,
        }
        words = [str(self._binary), *(str(word) for pair in options.items() for word in pair)]
        self._firmware = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        end = time.monotonic() + PORT_S
        while not os.path.exists(self.port):
            if self._firmware.poll() is not None or time.monotonic() > end:
                raise LinkLostError(f"the firmware does not start: {self.problem()}")
            time.sleep(0.002)

    @property
    def running(self) -> bool:
        """Whether the firmware runs."""
        return self._firmware is not None and self._firmware.poll() is None

    def problem(self) -> str:
        """Return what the firmware said before it ended."""
        if self._firmware is None or self._firmware.stderr is None or self.running:
            return ""
        return self._firmware.stderr.read().decode(errors="replace").strip()

    def kill_firmware(self, number: int = signal.SIGKILL) -> None:
        """Cut the board's power, so to speak; the chip keeps its state."""
        if self._firmware is not None:
            with contextlib.suppress(ProcessLookupError):
                self._firmware.send_signal(number)
            self._firmware.wait()
            Path(self.port).unlink(missing_ok=True)  # the next process may get the same pseudo-terminal

    def weights(self, array: int = 0) -> npt.NDArray[np.float32]:
        """Return the true weights ``[rows, columns]`` of a physical array, for tests."""
        return self.oracle.weights(array)

    def close(self) -> None:
        """End both processes; closing twice is harmless."""
        self.kill_firmware(signal.SIGTERM)
        if hasattr(self, "oracle"):
            self.oracle.close()
        child.end(self._chip)
        if self._firmware is not None and self._firmware.stderr is not None:
            self._firmware.stderr.close()
        Path(self.port).unlink(missing_ok=True)
        self._scratch.cleanup()


def board_defines(profile: ChipProfile) -> dict[str, int | str]:
    """Return what a board has to be built with for a profile; its own limits are those of ``board.h``.

    Where lines float, all devices must bear what half-selected ones are spared otherwise: that limit is the profile's.
    """
    half = round(profile.envelope.half_volts / profile.converters.volts_per_rail_code)
    return {
        **({"CAPABILITIES": 31, "MAX_HALF": half} if profile.floating else {}),
        "ARRAYS": profile.arrays,
        "ROWS": profile.rows,
        "COLUMNS": profile.columns,
        "INPUT_BITS": profile.converters.input_bits,
        "OUTPUT_BITS": profile.converters.output_bits,
        "CHIP_NAME": profile.chip,
    }
