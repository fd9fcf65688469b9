"""numpy, torch, numba and C reproduce the published test vectors bit for bit."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.keyed import arrays, native, tensors
from tests.assembly import assembly, needs_avx2, vector_instructions

HERE = Path(__file__).parent
VECTORS: dict[str, list[dict[str, Any]]] = json.loads((HERE / "vectors.json").read_text(encoding="utf-8"))


def words(entries: Iterable[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([int(entry[name], 16) for entry in entries], dtype=np.uint32)


def signed(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.uint32).view(np.int32))


def unsigned(values: torch.Tensor) -> np.ndarray:
    return values.numpy().view(np.uint32)


def test_stream_numbers() -> None:
    for entry in VECTORS["stream_number"]:
        assert arrays.stream_number(entry["name"]) == int(entry["number"], 16)


def test_mix() -> None:
    entries = VECTORS["mix"]
    np.testing.assert_array_equal(arrays.mix(words(entries, "word")), words(entries, "mixed"))
    np.testing.assert_array_equal(unsigned(tensors.mix(signed(words(entries, "word")))), words(entries, "mixed"))


@pytest.mark.parametrize("entry", VECTORS["key"], ids=str)
def test_key(entry: dict[str, Any]) -> None:
    seed, step = int(entry["seed"]), int(entry["step"])
    expected = [int(entry["k0"], 16), int(entry["k1"], 16)]
    assert [int(k) for k in arrays.key(seed, entry["stream"], step)] == expected
    assert [int(unsigned(k)[0]) for k in tensors.key(seed, entry["stream"], step, 1)] == expected


@pytest.mark.parametrize("entry", VECTORS["draw"], ids=str)
def test_draw(entry: dict[str, Any]) -> None:
    seed, step, cell, pulse = (int(entry[name]) for name in ("seed", "step", "cell", "pulse"))
    expected = int(entry["word"], 16)
    assert int(arrays.draw(arrays.key(seed, entry["stream"], step), cell, pulse)) == expected
    keys = tensors.key(seed, entry["stream"], step, 1)
    drawn = tensors.draw(keys, signed(np.array([cell])), signed(np.array([pulse])))
    assert int(unsigned(drawn)[0]) == expected


def test_gaussian() -> None:
    entries = VECTORS["gaussian"]
    drawn, expected = words(entries, "word"), words(entries, "float32")
    np.testing.assert_array_equal(arrays.gaussian_from_words(drawn).view(np.uint32), expected)
    np.testing.assert_array_equal(unsigned(tensors.gaussian_from_words(signed(drawn))), expected)


def test_threshold() -> None:
    for entry in VECTORS["threshold"]:
        assert int(arrays.threshold(float.fromhex(entry["probability"]))) == entry["threshold"]


@pytest.mark.parametrize("entry", VECTORS["train"], ids=lambda entry: f"{entry['threshold']}-{entry['bl']}")
def test_train(entry: dict[str, Any]) -> None:
    """Slots of one line, from torch's bit-sliced comparison and from the compiled one."""
    seed, step, line, bl = (int(entry[name]) for name in ("seed", "step", "line", "bl"))
    expected = np.array([int(word, 16) for word in entry["words"]], dtype=np.uint32)
    pulses = torch.arange(32 * len(expected), dtype=torch.int32).view(-1, 32)
    drawn = tensors.draw(tensors.key(seed, entry["stream"], step, 1), torch.tensor([line], dtype=torch.int32), pulses)
    packed = unsigned(tensors.bernoulli_words(drawn, torch.full((len(expected),), entry["threshold"])))
    used = np.clip(bl - 32 * np.arange(len(expected)), 0, 32).astype(np.uint64)
    np.testing.assert_array_equal(packed & ((np.uint64(1) << used) - np.uint64(1)).astype(np.uint32), expected)
    values = np.zeros((1, line + 1))
    values[0, line] = entry["threshold"] / 2**32  # exact in float64
    compiled = native.train_words(seed, entry["stream"], step, values, np.ones(1), np.array([bl]))
    np.testing.assert_array_equal(compiled[0, line], expected)


def test_the_compiled_gaussian_agrees_with_numpy() -> None:
    """Float32 rounding too: no fused multiply-add slips in."""
    compiled = native.gaussian_grid(5, "A/output", 2**32 - 3, 200, 500)
    keys = arrays.key(5, "A/output", np.arange(2**32 - 3, 2**32 + 197, dtype=np.uint64)[:, None])
    np.testing.assert_array_equal(compiled, arrays.gaussian(keys, np.arange(500), 0))


@needs_avx2
def test_the_compiled_gaussian_is_vectorised() -> None:
    native.gaussian_grid(5, "A/output", 0, 1, 1)
    assert vector_instructions(assembly(native._gaussian_grid), "vpmulld") >= 3


def question(verb: str, entry: dict[str, Any]) -> tuple[str, str]:
    """Return a line for ``keyed.c`` and the answer it must give."""
    name = "x" + entry.get("stream", entry.get("name", "")).encode().hex()
    head = f"{entry.get('seed')} {name} {entry.get('step')}"
    match verb:
        case "stream_number":
            return f"stream {name}", entry["number"]
        case "mix":
            return f"mix {entry['word']}", entry["mixed"]
        case "key":
            return f"key {head}", f"{entry['k0']} {entry['k1']}"
        case "draw":
            return f"draw {head} {entry['cell']} {entry['pulse']}", entry["word"]
        case "gaussian":
            return f"gaussian {entry['word']}", entry["float32"]
        case "threshold":
            return f"threshold {entry['probability']}", str(entry["threshold"])
    return f"train {head} {entry['line']} {entry['threshold']} {entry['bl']}", " ".join(entry["words"])


def test_c_written_from_the_specification(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    program = tmp_path / "keyed"
    options = ["-std=c99", "-O2", "-Wall", "-Werror", "-ffp-contract=off"]
    subprocess.run([compiler, *options, str(HERE / "keyed.c"), "-o", str(program), "-lm"], check=True)
    asked = [question(verb, entry) for verb, entries in VECTORS.items() if verb != "about" for entry in entries]
    done = subprocess.run(
        [str(program)], input="\n".join(line for line, _ in asked) + "\n", capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [answer for _, answer in asked]
