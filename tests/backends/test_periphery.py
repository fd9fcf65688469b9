"""The compiled read of `simulated` against the same formulas in torch, and what is kept between reads."""

from itertools import pairwise, product
from typing import Any

import numba as nb
import pytest
import torch

from rpudriver.backends.capabilities import Nominal, load_profile
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.simulated import native, products
from rpudriver.backends.simulated.devices.spec import ReadNoise
from rpudriver.backends.simulated.periphery import Periphery, convert
from rpudriver.keyed import tensors as keyed
from rpudriver.trains import counted_pulses
from rpudriver.types import Cell, Port, Read, ReadResult
from tests.assembly import assembly, needs_avx2, vector_instructions

SEED, FIRST = 7, 2**33 - 1
CHIPS: dict[str, dict[str, object]] = {
    "standard": {},
    "open": {"output_bound": 0},
    "coarse": {"input_bits": 0, "input_bound": 0.7, "output_bits": 5, "output_bound": 0.9},
}
BARE = {"input_bits": 0, "output_bits": 0}  # no converters
NOISES = {"quiet": ReadNoise(), "noisy": ReadNoise(output_noise=0.06, input_noise=0.1, weight_noise=0.05)}


def in_torch(periphery: Periphery, weights: torch.Tensor, gain: float, x: torch.Tensor, transposed: bool) -> ReadResult:
    """The formulas of ``docs/simulator.md``, one torch operation after the other."""
    c, noise, suffix = periphery.capabilities, periphery.noise, "-t" if transposed else ""

    def normal(purpose: str, like: torch.Tensor) -> torch.Tensor:
        k0, k1 = keyed.key(SEED, f"A/{purpose}{suffix}", FIRST, len(like))
        lines = torch.arange(like.shape[1], dtype=torch.int32)
        return keyed.gaussian((k0[:, None], k1[:, None]), lines, torch.zeros_like(lines))

    x = convert(x, c.input_bits, c.input_bound)
    x = x + noise.input_noise * normal("input", x)
    y = x @ weights if transposed else x @ weights.t()
    y = y + gain * noise.weight_noise * x.norm(dim=1, keepdim=True) * normal("weights", y)
    y = y + noise.output_noise * normal("output", y)
    if c.output_bound is None:
        return ReadResult(y, torch.zeros_like(y, dtype=torch.bool))
    clipped = y.clamp(-c.output_bound, c.output_bound)
    return ReadResult(convert(clipped, c.output_bits, c.output_bound), y.abs() >= c.output_bound)


@pytest.mark.parametrize("samples", [0, 1, 2, 9, products.FEW, products.FEW + 1])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("chip", "noise"), list(product(CHIPS, NOISES)))
def test_a_compiled_read_equals_torch(chip: str, noise: str, transposed: bool, samples: int) -> None:
    """Up to the order of sums, which differs with the number of vectors."""
    nominal = Nominal(dw_min=0.01, w_min=-1, w_max=1)
    capabilities = load_profile("standard", nominal, 0.0, CHIPS[chip])
    periphery = Periphery(capabilities, NOISES[noise], SEED)
    g = torch.Generator().manual_seed(samples)
    weights = torch.rand(37, 61, generator=g) - 0.5
    x = (torch.rand(samples, 37 if transposed else 61, generator=g) * 2 - 1) * capabilities.input_bound
    x[:, ::3] = 0.0
    found = periphery.read(weights, 1.3, x, "A", FIRST, transposed)
    expected = in_torch(periphery, weights, 1.3, x, transposed)
    assert found.values.shape == expected.values.shape
    assert torch.equal(found.saturated, expected.saturated)
    off = (found.values - expected.values).abs()
    level = 0.0 if capabilities.output_bound is None else capabilities.output_bound / 15
    assert ((off < 1e-5) | (off < 1.01 * level)).all()
    assert (off < 1e-5).double().mean() > 0.99 if samples else True
    if chip == "coarse" and samples > 1:
        assert 0 < found.saturated.double().mean() < 1


def test_a_read_leaves_its_input_and_the_weights_alone() -> None:
    with make("simulated", preset="reram-array") as backend:
        backend.arm()
        array = backend.allocate("W", 6, 5)
        for samples in (1, 4):
            x = torch.rand(samples, 5)
            before = x.clone(), oracle(backend).true_weights(array)
            backend.read_matvec(array, x)
            assert torch.equal(x, before[0])
            assert torch.equal(oracle(backend).true_weights(array), before[1])


@pytest.mark.parametrize("torch_path", [False, True])
@pytest.mark.parametrize("cell", [Cell.REFERENCE, Cell.PAIR])
def test_a_kept_sum_follows_every_change_of_its_devices(
    cell: Cell, torch_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch_path:
        monkeypatch.setattr(native, "has_kernel", lambda bank: False)
    options: dict[str, Any] = {"preset": "idealised", "chip": {"input_bits": 0, "output_bits": 0, "output_bound": 0}}
    with make("simulated", **options) as backend:
        backend.arm()
        arrays = [backend.allocate(name, 4, 3, cell) for name in "AB"]
        terms = ((arrays[0], 0.5), (arrays[1], -2.0))

        def check() -> torch.Tensor:
            w = sum(factor * oracle(backend).true_weights(array) for array, factor in terms)
            for _ in range(2):
                values = backend.run([Read(terms, torch.eye(3))])[0].values
                torch.testing.assert_close(values, w.t(), atol=1e-6, rtol=0)
            one = backend.run([Read(((arrays[0], 1.0),), torch.eye(3))])[0].values
            torch.testing.assert_close(one, oracle(backend).true_weights(arrays[0]).t(), atol=1e-6, rtol=0)
            return w

        seen = [check()]
        saved = backend.snapshot()
        for array, port in product(arrays, Port):
            backend.apply_pulses(array, counted_pulses(torch.full((4, 3), 30)), port=port)
            seen.append(check())
            oracle(backend).set_true_state(array, port, torch.rand(4, 3))
            seen.append(check())
        backend.restore(saved)
        assert torch.equal(check(), seen[0])
        assert all((a - b).abs().max() > 1e-3 for a, b in pairwise(seen))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 16), (9, 130)])
def test_few_vectors_do_not_depend_on_each_other(shape: tuple[int, int], transposed: bool) -> None:
    """Nor on their places: a product adds in the same order for all. Against the product in double precision too."""
    g = torch.Generator().manual_seed(1)
    capabilities = load_profile("standard", Nominal(dw_min=0.01, w_min=-1, w_max=1), 0.0, CHIPS["open"] | BARE)
    periphery = Periphery(capabilities, ReadNoise(), SEED)
    weights = torch.rand(shape, generator=g) - 0.5
    x = torch.rand(products.FEW, shape[0 if transposed else 1], generator=g) * 2 - 1
    whole = periphery.read(weights, 1.0, x, "A", FIRST, transposed).values
    exact = x.double() @ (weights if transposed else weights.t()).double()
    torch.testing.assert_close(whole, exact.float(), rtol=1e-5, atol=1e-5)
    for some in ([3, 0], [15, 2, 7], list(range(15, 0, -1))):
        assert torch.equal(periphery.read(weights, 1.0, x[some], "A", FIRST, transposed).values, whole[some])


FLOAT, FLOATS, FLAGS, MATRIX = nb.float32, nb.float32[::1], nb.boolean[::1], nb.float32[:, ::1]
MULTIPLY_ADD = r"vfmadd\d+ps"
KEYS = nb.types.Tuple((nb.uint64, nb.uint32[::1], nb.uint64))


@needs_avx2
@pytest.mark.parametrize(
    ("kernel", "signature", "instruction", "least"),
    [
        (products._add_noise, (FLOATS, FLOAT, KEYS, nb.int64, nb.int64), "vpmulld", 3),
        (products._convert, (FLOATS, FLOAT, FLOAT, FLOAT), "vdivps", 1),
        (products._clip, (FLOATS, FLOAT, FLAGS), "vmaxps", 1),
        (products._forward, (MATRIX, FLOATS, FLOATS), MULTIPLY_ADD, 2),
        (products._transposed, (MATRIX, FLOATS, FLOATS), MULTIPLY_ADD, 2),
        (products._forward_few, (MATRIX, MATRIX, MATRIX), MULTIPLY_ADD, 8),
        (products._transposed_few, (MATRIX, MATRIX, MATRIX), MULTIPLY_ADD, 4),
    ],
)
def test_hot_loops_are_vectorised(kernel: Any, signature: Any, instruction: str, least: int) -> None:
    assert vector_instructions(assembly(kernel, signature), instruction) >= least
