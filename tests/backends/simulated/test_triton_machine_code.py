"""Every kernel compiles for an H100 as it is launched: the interpreter accepts more than the compiler does."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("triton") is None:
    pytest.skip("Triton is not installed (the extra 'gpu')", allow_module_level=True)

ROOT = Path(__file__).parents[3]
FAMILIES = ("constant", "soft-bounds", "power", "exponential", "measured")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    folder = str(tmp_path_factory.mktemp("cache"))
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": folder, "PYTHONPATH": path}
    script = Path(__file__).with_name("triton_machine_code.py")
    done = subprocess.run([sys.executable, script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_every_kernel_compiles(kernels: dict[str, dict[str, int]]) -> None:
    updates = {f"{family} {noise} update_kernel" for family in FAMILIES for noise in ("clean", "dirty")}
    turned = {f"{family} {noise} turn_kernel" for family in FAMILIES for noise in ("clean", "dirty")}
    reads = {"reads send_kernel", "reads receive_kernel"}
    assert set(kernels) == updates | turned | reads | {"trains draw_kernel", "trains look_kernel"}


def test_devices_stay_in_registers(kernels: dict[str, dict[str, int]]) -> None:
    """96 registers a thread leave room for 21 warps on a multiprocessor of 65536; turning runs in few programs."""
    for name, found in kernels.items():
        assert found["LOCAL"] + found["STACK"] == 0, name
        assert found["REG"] <= (128 if "turn" in name else 96), name


def test_one_warp_needs_no_barrier(kernels: dict[str, dict[str, int]]) -> None:
    for name, found in kernels.items():
        assert (found["bar.sync"] == 0) == ("look" not in name), name  # that one counts with four warps


def test_no_multiply_add_is_fused(kernels: dict[str, dict[str, int]]) -> None:
    """The generator rounds every operation by itself; fused, its normal numbers would differ from the CPU's."""
    for name, found in kernels.items():
        assert found["fma.rn.f32"] == 0, name


def test_coincidences_are_counted_by_one_instruction(kernels: dict[str, dict[str, int]]) -> None:
    assert all(found["popc.b32"] >= 2 for name, found in kernels.items() if "update" in name)
