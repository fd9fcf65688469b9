"""The keyed generator in Triton: the published vectors, bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.keyed.accelerator import available
from rpudriver.keyed.arrays import stream_number
from tests.interpreted import triton_device

DEVICE = triton_device()

import triton  # noqa: E402  (after the skip where Triton is absent)
import triton.language as tl  # noqa: E402

from rpudriver.keyed import gpu  # noqa: E402

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "vectors.json").read_text("utf-8"))


@triton.jit
def words_kernel(words, mixed, normal, block: tl.constexpr):  # type: ignore[no-untyped-def]
    lane = tl.arange(0, block)
    word = gpu.as_word(tl.load(words + lane))
    tl.store(mixed + lane, gpu.mix(word).to(tl.int32, bitcast=True))
    tl.store(normal + lane, gpu.gaussian_from_words(word))


@triton.jit(do_not_specialize=["low", "high", "stream", "step_low", "step_high", "cell", "pulse"])
def draw_kernel(out, low, high, stream, step_low, step_high, cell, pulse):  # type: ignore[no-untyped-def]
    k0, k1 = gpu.step_key(low, high, stream, step_low, step_high, 0)
    drawn = gpu.draw(k0, k1, gpu.as_word(cell), gpu.as_word(pulse))
    tl.store(out, k0.to(tl.int32, bitcast=True))
    tl.store(out + 1, k1.to(tl.int32, bitcast=True))
    tl.store(out + 2, drawn.to(tl.int32, bitcast=True))


def words_of(entries: list[dict[str, Any]], name: str) -> np.ndarray:
    """Return hexadecimal words, repeated to 64."""
    return np.resize(np.array([int(entry[name], 16) for entry in entries], np.uint32), 64)


def run_words(entries: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    given = torch.from_numpy(words_of(entries, "word").view(np.int32)).to(DEVICE)
    mixed, normal = torch.zeros_like(given), torch.zeros(64, device=DEVICE)
    words_kernel[1,](given, mixed, normal, block=64, **gpu.OPTIONS)
    return mixed.cpu().numpy().view(np.uint32), normal.cpu().numpy().view(np.uint32)


def run_draw(entry: dict[str, Any], cell: int = 0, pulse: int = 0) -> list[int]:
    """Return the two words of a key and the word of a cell and a pulse."""
    out = torch.zeros(3, dtype=torch.int32, device=DEVICE)
    seed, step = gpu.halves(int(entry["seed"])), gpu.halves(int(entry["step"]))
    stream = gpu.signed(stream_number(entry["stream"]))
    draw_kernel[1,](out, *seed, stream, *step, gpu.signed(cell), gpu.signed(pulse), **gpu.OPTIONS)
    return [int(word) for word in out.cpu().numpy().view(np.uint32)]


def test_mix() -> None:
    np.testing.assert_array_equal(run_words(VECTORS["mix"])[0], words_of(VECTORS["mix"], "mixed"))


def test_gaussian() -> None:
    np.testing.assert_array_equal(run_words(VECTORS["gaussian"])[1], words_of(VECTORS["gaussian"], "float32"))


@pytest.mark.parametrize("entry", VECTORS["key"], ids=str)
def test_key(entry: dict[str, Any]) -> None:
    assert run_draw(entry)[:2] == [int(entry["k0"], 16), int(entry["k1"], 16)]


@pytest.mark.parametrize("entry", VECTORS["draw"], ids=str)
def test_draw(entry: dict[str, Any]) -> None:
    assert run_draw(entry, int(entry["cell"]), int(entry["pulse"]))[2] == int(entry["word"], 16)


def test_the_cpu_keeps_its_own_kernels() -> None:
    assert not available(torch.zeros(1))
