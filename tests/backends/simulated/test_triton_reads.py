"""Reads in Triton against those of torch: the same noise, so the same values up to a converter's rounding."""

from typing import Any

import pytest
import torch

from rpudriver.backends.capabilities import Capabilities, load_profile
from rpudriver.backends.simulated import periphery
from rpudriver.backends.simulated.devices.spec import ReadNoise, load_preset
from rpudriver.keyed import arrays
from tests.interpreted import triton_device

DEVICE = triton_device()

from rpudriver.backends.simulated.triton import reads  # noqa: E402  (after the skip where Triton is absent)


def chip(**keys: Any) -> Capabilities:
    preset = load_preset("idealised")
    return load_profile("standard", preset.nominal(), preset.read.output_noise, keys)


def normal(seed: int, stream: str, first: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the numbers ``[B, n]`` that a stream draws: step first + b, cell = line, pulse 0."""
    k0, k1 = arrays.key(seed, stream, [first + b for b in range(shape[0])])
    return torch.from_numpy(arrays.gaussian((k0[:, None], k1[:, None]), range(shape[1]), 0))


def quantised(values: torch.Tensor, bits: int, bound: float) -> torch.Tensor:
    half = 2 ** (bits - 1) - 1
    return torch.round(values * half / bound) * (bound / half)


@pytest.mark.parametrize("bits", [0, 4, 8, 24])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_inputs(bits: int, sigma: float) -> None:
    """Bits 0 stand for no converter; the number of the vector passes 2^32."""
    x = torch.rand(3, 130, generator=torch.Generator().manual_seed(1)) * 2 - 1
    c, noise = chip(input_bits=bits), ReadNoise(input_noise=sigma)
    found = reads.send(c, noise, 5, x.to(DEVICE), "W/input", 2**32 - 2).cpu()
    expected = quantised(x, bits, c.input_bound) if bits else x
    expected = expected + sigma * normal(5, "W/input", 2**32 - 2, (3, 130))
    torch.testing.assert_close(found, expected, atol=3e-7, rtol=0)


def test_ties_go_to_the_even_level() -> None:
    """Seven levels, a step of 1: every odd multiple of 0.5 is a tie."""
    c = chip(output_bits=3, output_bound=3.0)
    y = torch.arange(-3.5, 4.0, 0.5).reshape(1, -1)
    found = reads.receive(c, ReadNoise(), 5, y.to(DEVICE), ("w", "o"), 0, 1.0)
    assert torch.equal(found.values.cpu(), torch.round(y.clamp(-3, 3)))
    assert torch.equal(found.saturated.cpu(), y.abs() >= 3)


@pytest.mark.parametrize("bound", [0.0, 0.9])
@pytest.mark.parametrize("weight_noise", [0.0, 0.1])
def test_outputs(bound: float, weight_noise: float) -> None:
    y = torch.randn(2, 140, generator=torch.Generator().manual_seed(2))
    c = chip(output_bits=8 if bound else 0, output_bound=bound)
    noise, length = ReadNoise(output_noise=0.06, weight_noise=weight_noise), torch.tensor([[0.5], [2.0]])
    found = reads.receive(c, noise, 5, y.to(DEVICE), ("W/weights", "W/output"), 40, length.to(DEVICE))
    expected = y + length * weight_noise * normal(5, "W/weights", 40, (2, 140))
    expected = expected + 0.06 * normal(5, "W/output", 40, (2, 140))
    saturated = expected.abs() >= bound if bound else torch.zeros(2, 140, dtype=torch.bool)
    assert torch.equal(found.saturated.cpu(), saturated)
    assert bool(saturated.any()) == bool(bound)
    if bound:
        expected = quantised(expected.clamp(-bound, bound), 8, bound)
    torch.testing.assert_close(found.values.cpu(), expected, atol=1e-6, rtol=0)


@pytest.fixture
def through_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the path of CUDA devices for tensors wherever they lie."""
    monkeypatch.setattr(periphery, "available", lambda tensor: True)


@pytest.mark.usefixtures("through_triton")
def test_the_periphery_hands_its_passes_over() -> None:
    """With every noise and both converters, between the same passes in torch."""
    c = chip(input_bits=7, output_bits=6, output_bound=1.0)
    chosen = periphery.Periphery(c, ReadNoise(input_noise=0.01, weight_noise=0.02, output_noise=0.03), 9)
    x = torch.rand(4, 7, generator=torch.Generator().manual_seed(3)) * 2 - 1
    q = quantised(x, 7, c.input_bound) + 0.01 * normal(9, "W/input-t", 3, (4, 7))
    torch.testing.assert_close(chosen._sent(x.to(DEVICE), "W/input-t", 3).cpu(), q, atol=3e-7, rtol=0)
    y = q + 1.5 * 0.02 * normal(9, "W/weights-t", 3, (4, 7)) + 0.03 * normal(9, "W/output-t", 3, (4, 7))
    found = chosen._finished(q.to(DEVICE), 1.5, "W", 3, "-t")
    off = (found.values.cpu() - quantised(y.clamp(-1, 1), 6, 1.0)).abs()
    assert (off < 1e-5).double().mean() > 0.9
    assert off.max() < 1.01 / 31  # beside a rounding boundary, to either side of it
