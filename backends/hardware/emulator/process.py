"""What the process of an emulated chip runs: ``python -m rpudriver.backends.hardware.emulator.process SOCKET JSON``.

It ends with the process that started it, which holds the other end of its standard input.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from rpudriver.backends.hardware.emulator.chip import EmulatedChip
from rpudriver.backends.hardware.emulator.server import ChipServer
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.simulated.devices.spec import load_preset


def make_chip(chip: str, preset: str, device: dict[str, Any], read: dict[str, Any], **options: Any) -> EmulatedChip:
    """Return a chip of a profile and a device preset, some keys of which are replaced."""
    return EmulatedChip(load_chip(chip), load_preset(preset, {"device": device, "read": read}), **options)


def main() -> None:
    """Serve until standard input closes."""
    path, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    server = ChipServer(make_chip(**options), path)
    print("ready", flush=True)
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    server.serve()


def _outlive_nobody() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
