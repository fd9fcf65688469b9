"""An update needs no memory of the array's size for each of its samples."""

import re
from pathlib import Path

import pytest
import torch

from rpudriver.backends.registry import make
from rpudriver.types import Pulse
from tests.backends.simulated.kernel_cases import CASES, force, trains_of

SIZE, SAMPLES = 2048, 64
ROOM = {"rows": SIZE, "columns": SIZE}
RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def resident(what: str) -> int:
    """Return a line of the process's memory in bytes: ``VmRSS`` now, ``VmHWM`` at most since `forget_peak`."""
    found = re.search(rf"{what}:\s+(\d+) kB", STATUS.read_text())
    assert found
    return 1024 * int(found.group(1))


def forget_peak() -> None:
    try:
        RESET.write_text("5")
    except OSError:
        pytest.skip("the highest memory use of a process is set back on Linux alone")


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_an_update_takes_less_than_four_arrays(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the backend, so with checking and counting of pulses: a copy for each sample would be 64 arrays."""
    forget_peak()
    force(monkeypatch, dense=dense)
    with make("simulated", preset="asymmetric-100", seed=1, device=CASES["soft-bounds"], chip=ROOM) as chip:
        chip.arm()
        small, large = chip.allocate("S", 64, 64), chip.allocate("L", SIZE, SIZE)
        density = 0.2 if dense else 0.02
        chip.run([Pulse(small, trains_of((64, 64), [7] * SAMPLES, (density, density), 0))])  # compiles
        trains = trains_of((SIZE, SIZE), [7] * SAMPLES, (density, density), 1)
        before = resident("VmRSS")
        forget_peak()
        chip.run([Pulse(large, trains)])
        added = resident("VmHWM") - before
        pulses = chip.snapshot(["L"])["arrays"]["L"]["state"]["device/pulses"]
    assert int(pulses.sum()) > 1000 * SAMPLES
    assert added < 4 * SIZE * SIZE * torch.finfo(torch.float32).bits // 8
