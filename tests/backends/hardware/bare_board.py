"""The reference firmware as a process, its converters ending in a chip without physics."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rpudriver.backends.hardware.firmware.build import build_host
from tests.backends.hardware.firmware.fake_chip import FakeChip


@contextlib.contextmanager
def firmware(sanitize: bool = False) -> Iterator[str]:
    """Run the firmware; give the name of its port."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)  # short: the name of a socket has at most 107 bytes
        chip = FakeChip(folder / "chip")
        program = build_host(sanitize=sanitize)
        command = [program, "--chip", chip.path, "--store", folder / "store"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield process.stdout.readline().strip()
                assert process.poll() is None, "the firmware is gone"
            finally:
                process.terminate()
                process.wait()
                with contextlib.suppress(OSError):  # it hung up when the process went
                    chip.close()
