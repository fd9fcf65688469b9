import numpy as np
import pytest

from rpudriver.calibration.two_sample import FACTORS, two_sample
from rpudriver.errors import CalibrationError


def sample(seed, count, dimensions=3, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, (count, dimensions))


def test_the_discrepancy_is_the_unbiased_one_of_the_paper():
    """Eq. 3 of Gretton et al. 2012, by loops; bandwidths are multiples of the median distance."""
    x, y = sample(1, 25), sample(2, 30, shift=0.5)
    found = two_sample(x, y, permutations=19)
    pooled = np.concatenate([x, y])
    apart = [np.linalg.norm(pooled[i] - pooled[j]) for i in range(55) for j in range(i)]
    np.testing.assert_allclose(found.bandwidths, np.median(apart) * np.array(FACTORS), rtol=1e-5)

    def kernel(a, b):
        return np.mean([np.exp(-((a - b) @ (a - b)) / 2 / width**2) for width in found.bandwidths])

    within = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (25 * 24)
    other = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (30 * 29)
    across = sum(kernel(a, b) for a in x for b in y) / (25 * 30)
    assert found.mmd2 == pytest.approx(within + other - 2 * across, abs=1e-6)


def test_equal_distributions_are_rejected_as_often_as_stated():
    p = np.array([two_sample(sample(n, 30), sample(10_000 + n, 40), 99, n).p for n in range(300)])
    # 300 repeats: 5 % +- 1.26 %, half +- 1.7 %; four standard deviations
    assert 0.05 - 4 * 0.0126 < (p <= 0.05).mean() < 0.05 + 4 * 0.0126
    assert p.mean() == pytest.approx(0.5, abs=4 * 0.0167)


@pytest.mark.parametrize(("shift", "scale"), [(0.5, 1.0), (0.0, 1.7)])
def test_a_shift_or_another_spread_is_found(shift, scale):
    rejected = [two_sample(sample(n, 100), scale * sample(5000 + n, 100) + shift, 99, n).p <= 0.05 for n in range(20)]
    assert sum(rejected) >= 19


def test_the_least_p_is_one_over_permutations_and_itself():
    assert two_sample(sample(1, 40), sample(2, 40, shift=5.0), permutations=49).p == 1 / 50


def test_the_same_seed_gives_the_same_and_swapping_changes_no_discrepancy():
    x, y = sample(1, 40), sample(2, 50, shift=0.2)
    assert two_sample(x, y, 49, 7).p == two_sample(x, y, 49, 7).p
    assert two_sample(x, y, 49).mmd2 == pytest.approx(two_sample(y, x, 49).mmd2, abs=1e-6)
    assert not np.array_equal(two_sample(x, y, 49, 7).null, two_sample(x, y, 49, 8).null)


def test_the_witness_points_at_what_only_the_first_sample_has():
    x, y = sample(1, 200), sample(2, 200)
    x[:20] = 4.0 + 0.1 * x[:20]
    found = two_sample(x, y, 199)
    assert set(np.argsort(-found.witness)[:20].tolist()) == set(range(20))
    assert (found.witness[:20] > found.threshold).all()


def test_the_largest_witness_of_equal_samples_is_seldom_beyond_the_threshold():
    over = [
        (found := two_sample(sample(n, 60), sample(900 + n, 60), 99, n)).witness.max() > found.threshold
        for n in range(100)
    ]
    assert sum(over) < 5 + 4 * 2.2  # 5 % of 100, four standard deviations


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (sample(1, 19), sample(2, 50), "19 and 50 devices are too small"),
        (sample(1, 50), sample(2, 50, 2), r"\[50, 3\] and \[50, 2\]"),
        (sample(1, 50), np.full((50, 3), np.nan), "NaN"),
        (np.zeros((50, 3)), np.zeros((50, 3)), "exactly the same"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(x, y, words):
    with pytest.raises(CalibrationError, match=words):
        two_sample(x, y)
