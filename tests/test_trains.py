"""Drawing of pulse trains: expectation, management, determinism, and every bit against plain Python."""

import math
from fractions import Fraction

import numba as nb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver import trains as trains_module
from rpudriver.errors import StepError
from rpudriver.keyed import arrays, native, threads
from rpudriver.trains import TrainSource, counted_pulses, draw_trains, single_pulses
from rpudriver.types import PulseTrains
from tests.assembly import assembly, needs_avx2, vector_instructions

SOURCE = TrainSource(5, "tile/trains")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def slots(words: torch.Tensor) -> np.ndarray:
    """Return ``[B, n, 32 W]`` of 0 and 1."""
    raw = np.ascontiguousarray(words.cpu().numpy()).view(np.uint8)
    return np.unpackbits(raw, axis=2, bitorder="little").astype(np.int64)


def net_pulses(trains: PulseTrains) -> np.ndarray:
    """Return the signed pulses of every device, ``[B, n_out, n_in]``."""
    x, d = slots(trains.x_words), slots(trains.d_words)
    signs = 1 - 2 * (trains.d_negative.cpu()[:, :, None] ^ trains.x_negative.cpu()[:, None, :]).long().numpy()
    return np.einsum("bis,bjs->bij", d, x) * signs


def plain_side(size: list[float], factor: float, bl: int, side: str, step: int, words: int) -> list[list[int]]:
    """Return the words of one side of one sample, slot by slot and digit by digit in Python's integers."""
    keys = arrays.key(SOURCE.seed, f"{SOURCE.stream}/{side}", step)
    out = []
    for line, value in enumerate(size):
        limit = math.floor(min(1.0, value * factor) * 2**32 + 0.5)
        packed = [0] * words
        for slot in range(bl):
            word, bit = divmod(slot, 32)
            digits = [int(arrays.draw(keys, line, 32 * word + i)) >> bit & 1 for i in range(32)]
            if sum(digit << (31 - i) for i, digit in enumerate(digits)) < limit:
                packed[word] |= 1 << bit
        out.append(packed)
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("update_management", "bl_management"), [(True, True), (False, False), (True, False)])
def test_every_bit_follows_the_specification(device: str, update_management: bool, bl_management: bool) -> None:
    x = torch.tensor([[0.5, -1.0, 0.0], [0.01, 0.3, -0.2], [0.0, 0.0, 0.0]])
    d = torch.tensor([[0.002, -0.05], [0.6, 0.1], [1.0, 1.0]])
    lr, dw_min, max_bl = 0.9, 0.01, 40
    trains = draw_trains(
        x.to(device),
        d.to(device),
        lr=lr,
        dw_min=dw_min,
        max_bl=max_bl,
        source=SOURCE,
        first=17,
        update_management=update_management,
        bl_management=bl_management,
    )
    expected_bl = [math.ceil(lr * 1.0 * float(d[0].abs().max()) / dw_min), 17, 0] if bl_management else [40, 40, 0]
    assert trains.bl.tolist() == expected_bl
    for b, bl in enumerate(expected_bl):
        xs, ds = x[b].double().abs().tolist(), d[b].double().abs().tolist()
        amplitude = math.sqrt(lr / (bl * dw_min)) if bl else 0.0
        ratio = math.sqrt(max(ds) / max(xs)) if update_management and bl else 1.0
        words = trains.x_words.shape[2]
        assert trains.x_words[b].tolist() == plain_side(xs, amplitude * ratio, bl, "x", 17 + b, words)
        assert trains.d_words[b].tolist() == plain_side(ds, amplitude / ratio, bl, "d", 17 + b, words)
    assert trains.x_negative.cpu().equal(x < 0)
    assert trains.d_negative.cpu().equal(d < 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bl_management", [True, False])
def test_the_expected_update_is_the_outer_product(device: str, bl_management: bool) -> None:
    """``E[dw] = lr x d`` while no probability is clipped; 20000 samples of one (x, d), five standard errors."""
    x, d = torch.tensor([0.9, -0.3, 0.05, 0.0]), torch.tensor([0.02, -0.011, 0.0])
    lr, dw_min, samples = 0.5, 0.001, 20000
    trains = draw_trains(
        x.repeat(samples, 1).to(device),
        d.repeat(samples, 1).to(device),
        lr=lr,
        dw_min=dw_min,
        max_bl=31,
        source=SOURCE,
        first=0,
        bl_management=bl_management,
    )
    bl = 9 if bl_management else 31  # ceil(0.5 * 0.9 * 0.02 / 0.001) = ceil(8.99999...)
    assert trains.bl.eq(bl).all()
    pulses = net_pulses(trains)
    expected = (lr * torch.outer(d, x) / dw_min).double().numpy()
    chance = np.abs(expected) / bl  # a device sees a pulse in a slot with p_i q_j = lr |x_j d_i| / (BL dw_min)
    error = np.sqrt(bl * chance * np.clip(1 - chance, 0, None) / samples)
    assert (np.abs(pulses.mean(0) - expected) <= 5 * error + 1e-6).all()
    assert (np.abs(pulses.var(0) - bl * chance * (1 - chance)) < 0.1 * (0.1 + bl * chance)).all()
    assert (pulses[:, 2, :] == 0).all()  # a zero never fires
    assert (pulses[:, :, 3] == 0).all()


def test_the_covariance_of_neighbours_is_that_of_shared_lines() -> None:
    """Devices j, k of row i fire together more often than apart: ``BL p_i (1 - p_i) q_j q_k``."""
    samples, bl = 20000, 31
    x, d = torch.tensor([0.8, 0.5]), torch.tensor([0.4])
    trains = draw_trains(
        x.repeat(samples, 1), d.repeat(samples, 1), lr=0.01, dw_min=0.001, max_bl=bl, source=SOURCE, first=0,
        update_management=False, bl_management=False,
    )  # fmt: skip
    factor = math.sqrt(0.01 / (bl * 0.001))
    p, q = 0.4 * factor, (0.8 * factor, 0.5 * factor)
    counts = net_pulses(trains)[:, 0]
    measured = np.cov(counts.T)[0, 1]
    variances = [bl * p * v * (1 - p * v) for v in q]
    error = math.sqrt((variances[0] * variances[1] + measured**2) / samples)
    assert abs(measured - bl * p * (1 - p) * q[0] * q[1]) < 5 * error


def test_update_management_makes_both_sides_equally_likely() -> None:
    """Errors are a thousand times smaller than inputs, yet the largest lines fire equally often."""
    x, d = torch.full((5000, 1), 0.8), torch.full((5000, 1), 0.0008)
    trains = draw_trains(x, d, lr=1.0, dw_min=0.001, max_bl=31, source=SOURCE, first=0, bl_management=False)
    p, n = math.sqrt(0.64 / 31), 5000 * 31
    for words in (trains.x_words, trains.d_words):
        assert abs(slots(words).sum() / n - p) < 5 * math.sqrt(p * (1 - p) / n)
    plain = draw_trains(
        x, d, lr=1.0, dw_min=0.001, max_bl=31, source=SOURCE, first=0, bl_management=False, update_management=False
    )
    assert slots(plain.x_words).sum() == n  # 0.8 * sqrt(1000 / 31) is clipped: the update comes out too small


@pytest.mark.parametrize(("product", "bl"), [(0.0004, 1), (0.001, 1), (0.0011, 2), (0.0305, 31), (5.0, 31)])
def test_bl_management(product: float, bl: int) -> None:
    trains = draw_trains(
        torch.tensor([[1.0, 0.1]]), torch.tensor([[product]], dtype=torch.float64),
        lr=1.0, dw_min=0.001, max_bl=31, source=SOURCE, first=0,
    )  # fmt: skip
    assert trains.bl.tolist() == [bl]
    assert trains.x_words.shape == (1, 2, 1)


def test_probabilities_are_clipped_at_one() -> None:
    trains = draw_trains(
        torch.tensor([[1.0, -1.0]]), torch.tensor([[3.0]]), lr=100.0, dw_min=0.001, max_bl=70, source=SOURCE, first=0
    )
    assert net_pulses(trains).tolist() == [[[70, -70]]]


def drawn_apart(density: float, lr: float, max_bl: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, object]]:
    generator = torch.Generator().manual_seed(1)
    x, d = torch.rand(40, 67, generator=generator) - 0.5, torch.randn(40, 35, generator=generator)
    x *= torch.rand(40, 67, generator=generator) < density
    d[3] = 0.0
    x[4] = 0.0
    x[5, 0], d[5, 0] = 3e38, 1e-42  # subnormal numbers are numbers
    return x, d, {"lr": lr, "dw_min": 0.02, "max_bl": max_bl, "source": SOURCE, "first": 2**33 - 5}


@pytest.mark.parametrize(("lr", "max_bl"), [(1.0, 100), (0.02, 31), (50.0, 32)])
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_the_torch_path_draws_the_same_trains(density: float, lr: float, max_bl: int) -> None:
    """The CPU takes the compiled path for float32; other devices and types take the one in torch."""
    x, d, options = drawn_apart(density, lr, max_bl)
    compiled = draw_trains(x, d, **options)
    in_torch = draw_trains(x.double(), d.double(), **options)
    assert compiled.bl[:3].ge(1).all()
    for part in ("x_words", "d_words", "x_negative", "d_negative", "bl"):
        assert getattr(compiled, part).equal(getattr(in_torch, part)), part


@pytest.mark.parametrize("max_bl", [31, 32, 100])  # up to 32 slots, one thread draws in a single call
def test_same_trains_for_one_and_for_many_threads(monkeypatch: pytest.MonkeyPatch, max_bl: int) -> None:
    x, d, options = drawn_apart(0.6, 1.0, max_bl)
    drawn = []
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 0.0)
    for count in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        drawn.append(draw_trains(x, d, **options))
    assert drawn[0].x_words.equal(drawn[1].x_words)
    assert drawn[0].d_words.equal(drawn[1].d_words)
    assert drawn[0].bl.equal(drawn[1].bl)


@needs_avx2
def test_hot_loops_are_vectorised() -> None:
    word, words = nb.uint32, nb.uint32[::1]
    digits = assembly(native._compare_digits, (word, word, words, words, words, words))
    assert vector_instructions(digits, "vpmulld") >= 2 * native.DIGITS
    survey = assembly(trains_module._survey, (nb.float32[::1], nb.boolean[::1]))
    assert vector_instructions(survey, "vpmaxud") >= 1


@given(
    seed=st.integers(0, 2**64 - 1),
    first=st.integers(0, 2**40),
    samples=st.integers(0, 6),
    cut=st.integers(0, 6),
    n_in=st.integers(1, 5),
    n_out=st.integers(1, 5),
    lr=st.floats(0, 10),
    max_bl=st.integers(1, 100),
)
@settings(max_examples=60, deadline=None)
def test_draws_depend_on_the_number_of_the_sample_alone(
    seed: int, first: int, samples: int, cut: int, n_in: int, n_out: int, lr: float, max_bl: int
) -> None:
    generator = torch.Generator().manual_seed(seed % 2**63)
    x = torch.rand(samples, n_in, generator=generator) * 2 - 1
    d = torch.randn(samples, n_out, generator=generator)
    d[: samples // 3] *= 1e-3
    source = TrainSource(seed, "t")

    def draw(part: slice) -> PulseTrains:
        start = first + (part.start or 0)
        return draw_trains(x[part], d[part], lr=lr, dw_min=0.01, max_bl=max_bl, source=source, first=start)

    cut = min(cut, samples)
    whole, parts = draw(slice(None)), [draw(slice(0, cut)), draw(slice(cut, samples))]
    assert whole.bl.tolist() == [bl for part in parts for bl in part.bl.tolist()]
    assert int(whole.bl.max()) <= max_bl if samples else True
    for b in range(samples):
        part, index = (parts[0], b) if b < cut else (parts[1], b - cut)
        for side in ("x_words", "d_words"):
            fires = slots(getattr(whole, side))[b]
            alone = slots(getattr(part, side))[index]
            shared = min(fires.shape[1], alone.shape[1])
            np.testing.assert_array_equal(fires[:, :shared], alone[:, :shared])
            assert not fires[:, int(whole.bl[b]) :].any()


def test_no_sample_draws_nothing() -> None:
    trains = draw_trains(torch.zeros(0, 3), torch.zeros(0, 2), lr=1.0, dw_min=0.1, max_bl=5, source=SOURCE, first=0)
    assert len(trains) == 0
    assert trains.x_words.shape == (0, 3, 1)


def test_x_and_d_and_lines_and_samples_draw_apart() -> None:
    same = torch.full((2, 2), 0.5)
    trains = draw_trains(same, same, lr=1.0, dw_min=0.0005, max_bl=512, source=SOURCE, first=0, bl_management=False)
    rows = [slots(words)[b, line] for words in (trains.x_words, trains.d_words) for b in (0, 1) for line in (0, 1)]
    p = math.sqrt(1.0 / (512 * 0.0005)) * 0.5  # 0.99: rows agree by chance in 1 - 2 p (1 - p) of their slots
    agreement = 1 - 2 * p * (1 - p)
    for i, row in enumerate(rows):
        for other in rows[:i]:
            assert (row != other).any()
            sigma = math.sqrt(agreement * (1 - agreement) / 512)
            assert abs((row == other).mean() - agreement) < 5 * sigma


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["x", "d"])
def test_nan_and_infinity_are_refused(side: str, bad: float) -> None:
    data = {"x": torch.ones(3, 2), "d": torch.ones(3, 4)}
    data[side][1, 1] = bad
    with pytest.raises(StepError, match=f"{side} of sample 1 holds NaN or infinity"):
        draw_trains(data["x"], data["d"], lr=1.0, dw_min=0.1, max_bl=5, source=SOURCE, first=0)


@pytest.mark.parametrize("bad", [{"lr": -1.0}, {"lr": math.nan}, {"dw_min": 0.0}, {"dw_min": -0.1}, {"max_bl": 0}])
def test_bad_parameters_are_refused(bad: dict[str, float]) -> None:
    options = {"lr": 1.0, "dw_min": 0.1, "max_bl": 5} | bad
    with pytest.raises(StepError, match="lr >= 0, dw_min > 0, max_bl >= 1"):
        draw_trains(torch.ones(1, 1), torch.ones(1, 1), source=SOURCE, first=0, **options)  # type: ignore[arg-type]


def test_single_pulses_are_exact() -> None:
    columns, signs = torch.tensor([2, 0, 2]), torch.tensor([[1.0, 0.0, -1.0, 1.0], [0.0] * 4, [-1.0, 0.0, 0.0, 0.0]])
    trains = single_pulses(columns, signs, 3)
    expected = np.zeros((3, 4, 3), dtype=np.int64)
    expected[0, :, 2], expected[2, :, 2] = [1, 0, -1, 1], [-1, 0, 0, 0]
    np.testing.assert_array_equal(net_pulses(trains), expected)
    assert trains.bl.tolist() == [1, 0, 1]


@given(st.lists(st.lists(st.integers(-70, 70), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_counted_pulses_are_exact(counts: list[list[int]]) -> None:
    wanted = torch.tensor(counts)
    trains = counted_pulses(wanted)
    np.testing.assert_array_equal(net_pulses(trains).sum(0), wanted.numpy())
    assert trains.bl.tolist() == wanted.abs().amax(0).tolist()
    for column in range(3):  # sample j reaches column j alone
        assert not np.delete(net_pulses(trains)[column], column, axis=1).any()


def test_the_expectation_is_exact_in_integer_thresholds() -> None:
    """Thresholds are off by half of 2^-32 at most, so ``BL p q dw_min`` is the wanted update to 1e-9 of a step."""
    x, d, lr, dw_min, bl = 0.37, 0.011, 0.3, 0.002, 7
    factor, ratio = math.sqrt(lr / (bl * dw_min)), math.sqrt(d / x)
    p, q = (Fraction(int(arrays.threshold(v)), 2**32) for v in (x * factor * ratio, d * factor / ratio))
    assert 0 < p < 1
    assert abs(float(bl * p * q) - lr * x * d / dw_min) < 1e-9 * bl
