import math

import numpy as np
import pytest

from rpudriver.calibration.population import normal_interval, population, root_interval, spread_parameter


def estimates(seed, count=200, mean=1.0, sd=0.2):
    """Estimates with errors of their own: some as large as the spread."""
    rng = np.random.default_rng(seed)
    errors = rng.uniform(0.02, 0.3, count)
    return rng.normal(mean, sd, count) + errors * rng.normal(size=count), errors


def test_mean_and_spread_are_unbiased_and_their_intervals_cover():
    found = [population(*estimates(n)) for n in range(300)]
    means, spreads = np.array([f.mean.value for f in found]), np.array([f.sd.value for f in found])
    assert means.mean() == pytest.approx(1.0, abs=4 * means.std() / math.sqrt(300))
    assert spreads.mean() == pytest.approx(0.2, rel=0.015)
    for part, true in (("mean", 1.0), ("sd", 0.2)):
        covered = np.mean([getattr(f, part).low <= true <= getattr(f, part).high for f in found])
        assert 0.95 - 4 * 0.0126 < covered < 0.95 + 4 * 0.0126  # 300 repeats


def test_without_the_errors_taken_off_the_spread_would_be_wrong():
    values, errors = estimates(1, 4000)
    assert values.std() > 0.25
    assert population(values, errors).sd.value == pytest.approx(0.2, abs=0.01)


def test_no_spread_is_found_where_there_is_none():
    low = [population(*estimates(n, sd=0.0)).sd.low for n in range(100)]
    assert np.mean(np.array(low) > 0) < 0.025 + 4 * 0.016


def test_wild_and_unknown_estimates_are_left_out():
    values, errors = estimates(3)
    values[:4], errors[4:8] = 50.0, np.inf
    found = population(values, errors)
    assert found.mean.value == pytest.approx(1.0, abs=0.08)
    assert found.kept == pytest.approx(192 / 200, abs=0.011)


@pytest.mark.parametrize(("form", "d2d"), [("normal", 0.3), ("log-normal", 0.78)])
def test_the_form_of_a_spread_is_recognised(form, d2d):
    xi = np.random.default_rng(5).normal(size=1000)
    values = 0.1 * (np.maximum(1 + d2d * xi, 0.01) if form == "normal" else np.exp(d2d * xi - d2d**2 / 2))
    mean, spread, found, kept = spread_parameter(values, np.full(1000, 0.05))
    assert (found, kept) == (form, 1.0)
    assert mean.low < 0.1 < mean.high
    assert spread.low < d2d < spread.high


def test_intervals():
    assert normal_interval(1.0, 0.5, 0.5).low == 0.5
    assert root_interval(0.0, 0.01).value == 0.0
    assert root_interval(0.04, 0.01).low == pytest.approx(math.sqrt(0.04 - 0.0196), abs=1e-4)
