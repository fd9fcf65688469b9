"""The generator is good enough for noise and trains: every tolerance follows from the sample size.

Tests compare a statistic with its law for independent uniform words at five standard deviations (a chance failure has
odds of 1 : 1.7 million), or a chi-square at the same odds by Wilson and Hilferty's cube root.
"""

import math

import numpy as np
import pytest
import torch

from rpudriver.keyed import arrays, tensors

SIGMAS = 5.0
STREAM = "A/device/pulse"
SHAPE = (64, 256, 16)  # steps, cells, pulses: 2^18 words
MAX_DISTANCE = 1.7e-4  # of the distribution function of `gaussian` from the normal one, over all 2^32 words


def grid(seed: int = 1, stream: str = STREAM, shape: tuple[int, int, int] = SHAPE, first: int = 0) -> np.ndarray:
    steps = np.arange(first, first + shape[0], dtype=np.uint64)[:, None, None]
    return arrays.draw(arrays.key(seed, stream, steps), np.arange(shape[1])[:, None], np.arange(shape[2]))


def chi_square_limit(degrees: int) -> float:
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + SIGMAS * math.sqrt(spread)) ** 3


def correlation_sigmas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the 1024 correlations between the bits of two sets of words, in standard deviations."""
    bits = [np.unpackbits(w.ravel().view(np.uint8)).reshape(-1, 32).astype(np.float32) * 2 - 1 for w in (a, b)]
    return (bits[0].T @ bits[1]) / math.sqrt(a.size)


@pytest.mark.parametrize("byte", range(4))
def test_bytes_are_uniform(byte: int) -> None:
    counts = np.bincount((grid().ravel() >> np.uint32(8 * byte)) & np.uint32(255), minlength=256)
    expected = counts.sum() / 256
    assert ((counts - expected) ** 2 / expected).sum() < chi_square_limit(255)


def test_high_halves_are_uniform() -> None:
    counts = np.bincount(grid(shape=(256, 256, 32)).ravel() >> np.uint32(16), minlength=2**16)
    expected = counts.sum() / 2**16  # 32 a bin
    assert ((counts - expected) ** 2 / expected).sum() < chi_square_limit(2**16 - 1)


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_every_bit_is_balanced_in_every_line_of_draws(axis: int | None) -> None:
    """Also inside one step, one cell or one pulse: a layer of noise must not carry an offset."""
    bits = np.unpackbits(np.ascontiguousarray(grid()).view(np.uint8).reshape(*SHAPE, 4), axis=3)
    axes = tuple(i for i in range(3) if i != axis)
    count = bits.mean(axis=axes, dtype=np.float64)
    sigma = 0.5 / math.sqrt(bits.size / 32 / (1 if axis is None else SHAPE[axis]))
    allowed = SIGMAS + (0 if axis is None else 1)  # up to 8192 proportions are looked at
    assert np.abs(count - 0.5).max() < allowed * sigma


@pytest.mark.parametrize(
    "shift", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 2, 2), (0, 32, 0), (0, 0, 8), (1, 1, 0), (3, 5, 7)]
)
def test_neighbours_are_uncorrelated(shift: tuple[int, int, int]) -> None:
    """All bits of a word against all bits of the word of another step, cell or pulse."""
    words = grid()
    near = words[tuple(slice(0, size - s) for size, s in zip(SHAPE, shift, strict=True))]
    far = words[tuple(slice(s, None) for s in shift)]
    sigmas = correlation_sigmas(near, far)
    assert np.abs(sigmas).max() < SIGMAS + 1
    assert (sigmas**2).sum() < chi_square_limit(1024)


@pytest.mark.parametrize(
    ("seed", "stream"),
    [(2, STREAM), (0, STREAM), (1 + 2**32, STREAM), (1 + 2**63, STREAM), (1, "A/device/pulsf"), (1, "B/device/pulse")],
)
def test_seeds_and_streams_are_uncorrelated(seed: int, stream: str) -> None:
    sigmas = correlation_sigmas(grid(), grid(seed, stream))
    assert np.abs(sigmas).max() < SIGMAS + 1
    assert (sigmas**2).sum() < chi_square_limit(1024)


def test_four_corners_of_a_cell_pulse_rectangle_are_independent() -> None:
    """Cell and pulse enter by an exclusive-or, so the inputs of the four corners cancel; the outputs must not."""
    words = grid(shape=(256, 64, 32))
    corners = words[:, :-1, :-1] ^ words[:, 1:, :-1] ^ words[:, :-1, 1:] ^ words[:, 1:, 1:]
    corners = corners[:, ::2, ::2].ravel()  # rectangles that share no corner
    ones = np.unpackbits(corners.view(np.uint8)).reshape(-1, 32).mean(0, dtype=np.float64)
    assert np.abs(ones - 0.5).max() < (SIGMAS + 0.5) * 0.5 / math.sqrt(corners.size)


def flipped(what: str, bit: int, base: tuple[int, int, int, int]) -> np.ndarray:
    """Return draws of 4096 keys with one bit of one input turned over (bit -1: none)."""
    seed, step, cell, pulse = (
        v ^ (1 << bit) if name == what and bit >= 0 else v
        for name, v in zip(("seed", "step", "cell", "pulse"), base, strict=True)
    )
    steps = np.uint64(step) ^ np.arange(4096, dtype=np.uint64) * np.uint64(2**20)
    return arrays.draw(arrays.key(seed, STREAM, steps), cell, pulse)


@pytest.mark.parametrize(("what", "width"), [("seed", 64), ("step", 64), ("cell", 32), ("pulse", 32)])
def test_each_input_bit_turns_over_half_of_the_output(what: str, width: int) -> None:
    base = (12345, 678, 90, 12)
    original = flipped(what, -1, base)
    for bit in range(width):
        turned = np.unpackbits((flipped(what, bit, base) ^ original).view(np.uint8)).reshape(-1, 32)
        assert abs(turned.mean() - 0.5) < SIGMAS * 0.5 / math.sqrt(turned.size)
        assert np.abs(turned.mean(0) - 0.5).max() < (SIGMAS + 1) * 0.5 / math.sqrt(len(turned))


def test_cells_of_one_pulse_never_repeat() -> None:
    """For one key and pulse the draw is a bijection of the cells: sampling without replacement."""
    words = arrays.draw(arrays.key(9, STREAM, 4), np.arange(2**18), 3)
    assert len(np.unique(words)) == 2**18


def normals() -> np.ndarray:
    """2^22 numbers: 64 steps of 2^16 cells."""
    keys = arrays.key(3, "W/output", np.arange(64, dtype=np.uint64)[:, None])
    return arrays.gaussian(keys, np.arange(2**16), 0).ravel().astype(np.float64)


def test_gaussian_moments() -> None:
    x, n = normals(), 2**22
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # E x^k and its variance
        assert abs((x**power).mean() - moment) < SIGMAS * math.sqrt(variance / n)


@pytest.mark.parametrize("seed", range(4))
def test_gaussian_mean_has_no_bias_over_many_keys(seed: int) -> None:
    """Short lines under many keys: the chi-square of their means shows an offset of some keys that others hide."""
    keys = tensors.key(seed, "q", 0, 4096)
    x = tensors.gaussian((keys[0][:, None], keys[1][:, None]), torch.arange(256, dtype=torch.int32), torch.tensor(0))
    means = x.double().mean(1).numpy() * 16  # in standard errors
    assert abs(means.mean()) < SIGMAS / 64
    assert abs((means**2).mean() - 1) < SIGMAS * math.sqrt(2 / 4096)


def test_gaussian_distribution_function() -> None:
    """Kolmogorov's distance: 1.7e-4 of the method itself, plus what 2^22 samples may show (1.95 at odds 1 : 1000)."""
    x = np.sort(normals())
    expected = 0.5 * torch.erfc(torch.from_numpy(-x / math.sqrt(2))).numpy()
    distance = np.abs(expected - (np.arange(len(x)) + 0.5) / len(x)).max()
    assert distance < MAX_DISTANCE + 1.95 / math.sqrt(len(x))


@pytest.mark.parametrize(("beyond", "share"), [(1, 0.317263), (2, 0.0454580), (3, 2.71221e-3), (4, 5.99194e-5)])
def test_gaussian_tails(beyond: int, share: float) -> None:
    """Shares as the specification states them; the normal ones are 0.317311, 0.0455003, 2.69980e-3, 6.33425e-5."""
    n = 2**22
    assert abs((np.abs(normals()) > beyond).mean() - share) < SIGMAS * math.sqrt(share * (1 - share) / n)
    assert abs(share / math.erfc(beyond / math.sqrt(2)) - 1) < 0.06


def test_the_largest_gaussian() -> None:
    every_bit = np.array([0xFFFFFFFF, 0], dtype=np.uint32)
    largest = np.abs(arrays.gaussian_from_words(every_bit))
    assert largest.max() < 6.469
    assert largest.min() > 5.8


@pytest.mark.parametrize("probability", [1e-3, 0.1, 1 / 3, 0.5, 0.9])
def test_slots_fire_with_their_probability(probability: float) -> None:
    limit = int(arrays.threshold(probability))
    n, keys = 2**20, tensors.key(11, "t/x", 0, 64)
    pulses = torch.arange(32 * 16, dtype=torch.int32).view(16, 32)
    drawn = tensors.draw(
        (keys[0].view(-1, 1, 1, 1), keys[1].view(-1, 1, 1, 1)),
        torch.arange(32, dtype=torch.int32)[:, None, None],
        pulses,
    )
    packed = tensors.bernoulli_words(drawn, torch.full(drawn.shape[:-1], limit)).numpy().view(np.uint8)
    slots = np.unpackbits(packed, bitorder="little").reshape(-1, 32).astype(np.float64)
    assert abs(slots.mean() - probability) < SIGMAS * math.sqrt(probability * (1 - probability) / n)
    centred = slots - probability  # slots of one word share 32 draws and must not know of each other
    sigmas = (centred.T @ centred) / (probability * (1 - probability) * math.sqrt(len(slots)))
    off = sigmas[~np.eye(32, dtype=bool)]
    assert (off**2).sum() / 2 < chi_square_limit(496)


def test_probabilities_zero_and_one_are_exact() -> None:
    words = torch.from_numpy(arrays.mix(np.arange(2**15, dtype=np.uint32)).view(np.int32)).view(-1, 32)
    words = torch.cat([words, torch.zeros(1, 32, dtype=torch.int32), torch.full((1, 32), -1, dtype=torch.int32)])
    never, always = (torch.full((len(words),), int(arrays.threshold(p))) for p in (0.0, 1.0))
    assert not tensors.bernoulli_words(words, never).any()
    assert (tensors.bernoulli_words(words, always) == -1).all()
