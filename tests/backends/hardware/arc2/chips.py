"""An emulated chip in a process of its own, as ArC TWO's devices, and the backend opened on it."""

import json
import select
import subprocess
import sys
from contextlib import contextmanager

from rpudriver.backends.hardware.emulator.oracle import ChipOracle
from rpudriver.backends.registry import make

READY_S = 120.0  # the simulator may have to compile


@contextmanager
def emulated(folder, preset="asymmetric-100", device=None, read=None):
    """Start the chip; yield its socket and a look into it."""
    options = {"chip": "arc2-32", "preset": preset, "seed": 0, "device": device or {}, "read": read or {}}
    command = [sys.executable, "-m", "rpudriver.backends.hardware.emulator.process", str(folder / "chip")]
    with subprocess.Popen(
        [*command, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert select.select([process.stdout], [], [], READY_S)[0]
            assert process.stdout.readline() == "ready\n"
            oracle = ChipOracle(folder / "chip", (32, 32))
            yield str(folder / "chip"), oracle
            oracle.close()
        finally:
            process.kill()


def open_in(folder, **options):
    """Open the backend ``arc2`` over the double."""
    firmware = folder / "fw.bin"
    firmware.write_bytes(b"fw")
    given = {"chip": "arc2-32", "firmware": str(firmware), "state": str(folder / "state"), "timeout_s": 1.0}
    return make("arc2", library="recording_arc2", **given | options)
