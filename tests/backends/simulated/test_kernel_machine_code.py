"""The loops over lanes of the kernels are vector code, whatever the family and the form of noise.

Scalar code is counted as well: a loop that the compiler gave up on shows as scalar instructions of its kind.
"""

import re

import pytest

from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.kernels.families import dense_kernel, form_of, sparse_kernel
from tests.assembly import assembly, needs_avx2, needs_avx512, vector_instructions
from tests.backends.simulated.kernel_cases import CASES, bank_of, force, trains_of

MULTIPLY_ADD = r"vfn?m(?:add|sub)\d+ps"
# what a family does to a lane besides drawing noise and moving it
EXTRA = {"soft-bounds": (MULTIPLY_ADD, 3), "power": (MULTIPLY_ADD, 12), "measured": ("vsqrtps", 1)}
EXTRA["exponential, additive"] = (MULTIPLY_ADD, 8)


def scalar_instructions(text: str, instruction: str) -> int:
    """Return how often an instruction (a regular expression) appears on general or 128-bit scalar registers."""
    return len(re.findall(rf"^\s+{instruction}\s", text, re.MULTILINE))


@needs_avx2
@pytest.mark.parametrize("family", EXTRA)
def test_loops_over_lanes_are_vectors(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, dense=True)
    bank = bank_of(CASES[family], (3, 40))
    native.apply_trains(bank, trains_of((3, 40), [31], (0.5, 0.5), 0), 1, 1.0, False)
    text = assembly(dense_kernel(bank.family, form_of(bank.device)))
    # noise of a group of lanes: three multiplications of 32-bit words, a count of bits, the normal number's polynomial
    assert vector_instructions(text, "vpmulld") >= 6
    assert vector_instructions(text, "vpopcntd|vpshufb") >= 2
    assert vector_instructions(text, "vmulps") >= 4
    # queues: pulses are shifted in together with their signs, the highest bit is looked for
    assert vector_instructions(text, "vpshldvd|vpsllvd") >= 1
    assert vector_instructions(text, "vpsravd|vpsrad|vpcmpgtd|vpmovd2m") >= 1
    assert vector_instructions(text, MULTIPLY_ADD) >= 1  # a weight moves
    assert vector_instructions(text, "vminps") >= 1
    assert vector_instructions(text, EXTRA[family][0]) >= EXTRA[family][1]
    # one lane at a time: only the slots of a row's word, and what a device reads as, are counted or multiplied
    assert scalar_instructions(text, r"popcnt[lq]?") <= 2
    assert scalar_instructions(text, MULTIPLY_ADD.replace("ps", "ss")) == 0
    assert scalar_instructions(text, "v?sqrtss") == 0
    assert scalar_instructions(text, "vdivss") == 0
    assert scalar_instructions(text, "vmulss") <= 6


@needs_avx512
@pytest.mark.parametrize(("family", "gathered"), [("soft-bounds", 6), ("exponential, additive", 8)])
def test_the_sparse_kernel_gathers_and_scatters(family: str, gathered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, dense=False)
    bank = bank_of(CASES[family], (3, 40))
    native.apply_trains(bank, trains_of((3, 40), [31], (0.5, 0.5), 0), 1, 1.0, False)
    text = assembly(sparse_kernel(bank.family, form_of(bank.device)))
    # a weight, its pulses, a step, two bounds, what the family needs besides; weight and pulses go back
    assert len(re.findall(r"\bvp?gatherd(?:ps|d)\b.*%zmm", text)) >= gathered
    assert len(re.findall(r"\bvp?scatterd(?:ps|d)\b.*%zmm", text)) >= 2
    assert vector_instructions(text, "vpmulld") >= 6
    assert vector_instructions(text, EXTRA[family][0]) >= EXTRA[family][1]
    assert len(re.findall(r"\bprefetch", text)) >= gathered  # the device that a later row moves first
