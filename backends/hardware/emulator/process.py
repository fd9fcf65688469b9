"""What the process of an emulated chip runs: ``python -m rpudriver.backends.hardware.emulator.process SOCKET JSON``.

It ends with the process that started it, which holds the other end of its standard input.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpudriver.backends.hardware.emulator.child import outlive_nobody
from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.rails import Rails
from rpudriver.backends.hardware.emulator.server import ChipServer
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.simulated.devices.spec import load_preset


def make_chip(chip: str, preset: str, device: dict[str, Any], read: dict[str, Any], **options: Any) -> EmulatedChip:
    """Return a chip of a profile and a device preset, some keys of which are replaced."""
    return EmulatedChip(load_chip(chip), load_preset(preset, {"device": device, "read": read}), **options)


def warm_up(chip: EmulatedChip) -> None:
    """Have everything compiled before somebody waits for it, on a chip that is thrown away."""
    other = replace(chip, profile=chip.profile.model_copy(update={"arrays": 1}))
    volts = chip.profile.kinds["update"].volts_up
    for count in (3, 40):  # trains of one word and of several
        other.set_rails(0, Rails(volts / 2, 0.0, -volts / 2, 0.0, 0.0, 1.0))
        for lowest, rest in ((1, 0), (255, 255)):  # one device, for the sparse kernel, and all, for the dense one
            lines = [
                np.full((count, -(-lines // 8)), rest, np.uint8) for lines in (chip.profile.rows, chip.profile.columns)
            ]
            for masks in lines:
                masks[:, 0] = lowest
            other.fire(0, round(chip.profile.kinds["update"].width_s * 1e9), *lines)
            other.settle()
    one = slice(0, 1)
    other.sense(0, None, (one, one, one, one), np.zeros((1, 1), np.float32), False)


def main() -> None:
    """Serve until standard input closes."""
    path, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    chip = make_chip(**options)
    warm_up(chip)
    server = ChipServer(chip, path)
    print("ready", flush=True)
    outlive_nobody()
    server.serve()


if __name__ == "__main__":
    main()
