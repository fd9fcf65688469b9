"""Compile every Triton kernel for an H100 as the host code launches it, without a GPU; print what came out as JSON.

Run by `test_triton_machine_code` in a process of its own, because Triton compiles or interprets for good. The calls are
real, on tensors in the CPU's memory; only the launch at their end is left out.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from rpudriver.backends.capabilities import load_profile
from rpudriver.backends.simulated.bank import new_bank
from rpudriver.backends.simulated.devices.spec import ReadNoise, load_preset
from rpudriver.backends.simulated.triton import reads, update
from rpudriver.keyed import gpu_trains
from rpudriver.trains import TrainSource, draw_trains

TARGET = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
GRID = [0.02 * row - 0.3 for row in range(31)]
TABLE = {"w": GRID, "dw_up": [0.01] * 31, "dw_down": [0.02] * 31}
FAMILIES: dict[str, dict[str, Any]] = {
    "constant": {},
    "soft-bounds": {},
    "power": {"tau": 0.6, "gamma": 1.5},
    "exponential": {"tau": 0.6},
    "measured": TABLE | {"dw_spread": [0.001] * 31},
}
CLEAN: dict[str, Any] = {"c2c": 0.3}
DIRTY: dict[str, Any] = {"c2c": 0.3, "c2c_additive": 0.1, "write_noise": 1.0}


class NoDriver:
    """A driver that names the target and has no device."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return TARGET


def record(compiled: dict[str, Any], name: str) -> None:
    """Let every launch compile its kernel and keep it under a name instead."""
    original = JITFunction.run

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        compiled[f"{name} {self.fn.__name__}"] = original(self, *args, grid=grid, warmup=True, **kwargs)

    JITFunction.__getitem__ = lambda self, grid: lambda *args, **kwargs: run(self, *args, grid=grid, warmup=0, **kwargs)


def compile_all() -> dict[str, Any]:
    compiled: dict[str, Any] = {}
    x, d = torch.linspace(-1, 1, 90).view(1, 90), torch.linspace(-1, 1, 40).view(1, 40)
    source = TrainSource(1, "t")
    short, long = (
        draw_trains(x, d, lr=1.0, dw_min=0.01, max_bl=bl, source=source, first=0, bl_management=False)
        for bl in (31, 70)
    )
    for family, keys in FAMILIES.items():
        for name, noise, trains in (("clean", CLEAN, short), ("dirty", DIRTY, long)):
            record(compiled, f"{family} {name}")
            device = {"response": {"family": family} | keys} | noise
            bank = new_bank(load_preset("asymmetric-100", {"device": device}).device, 1, "W/device", (40, 90))
            column = torch.tensor([3])
            update.apply_trains(bank, trains, columns=column, after=column * 0)
    record(compiled, "trains")
    drawn = gpu_trains.room_for(1, 90, 40, 3, x.device)
    gpu_trains.draw_words(x, d, (1.0, 0.01, 70, True, True), (2**64 - 1, (1, 2), 2**40), drawn)
    gpu_trains.look_through(drawn)
    record(compiled, "reads")
    c = load_profile("standard", load_preset("idealised").nominal(), 0.0, {"output_bound": 1.0})
    noise = ReadNoise(input_noise=0.1, weight_noise=0.1)
    reads.send(c, noise, 1, x, "W/input", 0)
    reads.receive(c, noise, 1, d, ("W/weights", "W/output"), 0, 1.0)
    return compiled


def usage(kernel: Any) -> dict[str, int]:
    """Return registers and stack of a kernel, and how often some instructions occur in it."""
    ptx = kernel.asm["ptx"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [TOOLS / "cuobjdump", "-res-usage", file.name]
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", listing)}
    counted = {name: len(re.findall(rf"\b{name}\b", ptx)) for name in ("fma.rn.f32", "popc.b32", "bar.sync")}
    return found | counted


if __name__ == "__main__":
    triton.runtime.driver.set_active(NoDriver())
    print(json.dumps({name: usage(kernel) for name, kernel in compile_all().items()}))
