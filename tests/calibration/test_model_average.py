"""The model average against trajectories with known mean and standard deviation."""

import math
from collections.abc import Callable

import pytest
import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.calibration.model_average import Average, RunningAverage
from rpudriver.types import Array, Port
from tests.calibration.arrays import damaged, holding, normal, with_values

ROWS, COLUMNS = 24, 12
PERIOD = RunningAverage.period(COLUMNS)  # 32
READ = math.hypot(0.06, 12 / 255 / 12**0.5)
ONE = torch.ones(1)

Trajectory = Callable[[int], torch.Tensor]


def follow(weights: Trajectory, updates: int, periods: int) -> tuple[Average, RunningAverage]:
    """Return the average of weights that are put on a chip before each update, with one read after each."""
    chip, array = holding(weights(0))
    average = RunningAverage((ROWS, COLUMNS), periods, 1, "fc")
    for update in range(updates):
        oracle(chip).set_true_state(array, Port.DEVICE, weights(update))
        average.read(chip, ((array, 1.0),), 1, ONE)
    return average.result(), average


def rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def test_weights_that_rest_have_the_mean_of_an_extraction_and_no_motion() -> None:
    truth = normal(ROWS, COLUMNS)
    found, _ = follow(lambda update: truth, 20 * PERIOD, 1)
    assert found.windows == 20
    z = (found.mean - truth) / found.mean_error
    # 288 weights: a mean square of 1 is good to 0.083; four of these
    assert abs(float(z.square().mean()) - 1) < 0.33
    assert abs(rms(found.mean_error) / (READ / math.sqrt(20 * PERIOD)) - 1) < 0.06
    # the variance is zero on average, each with its own error: half of the sd are cut off at zero
    assert 0.35 < float((found.sd == 0).double().mean()) < 0.7
    assert float((found.sd < 1.2 * found.sd_error).double().mean()) > 0.8  # those of one standard error or less


@pytest.mark.parametrize("sd", [0.003, 0.03])
def test_motion_from_window_to_window_is_found_with_its_error(sd: float) -> None:
    """Weights jump between sub-windows: their scatter has a known variance, beside noise of 0.011 in each."""
    windows, centre = 40, normal(ROWS, COLUMNS)
    jumps = sd * torch.randn(windows, ROWS, COLUMNS, generator=torch.Generator().manual_seed(3))
    found, _ = follow(lambda update: centre + jumps[update // PERIOD], windows * PERIOD, 1)
    truth = centre + jumps.mean(0)
    assert abs(float(((found.mean - truth) / found.mean_error).square().mean()) - 1) < 0.33
    # of 288 weights the variance, on average; each has the error (sd^2 + noise^2) sqrt(2 / 39)
    noise = READ / math.sqrt(PERIOD)
    error = (sd**2 + noise**2) * math.sqrt(2 / 39) / math.sqrt(ROWS * COLUMNS)
    spread = jumps.var(0).double()
    # cut off at zero where noise explains all, which at sd 0.003 is nearly half of them: compared where it is not
    if sd > noise:
        assert abs(float((found.sd.double().square() - spread).mean())) < 4 * error
        inside = float(((found.sd - sd).abs() < 2 * found.sd_error).double().mean())
        assert inside > 0.9  # 95 % of 288, good to 1.3 %; less the skewness of a variance of 40
        assert float(((found.sd - sd).abs() < found.sd_error).double().mean()) < 0.85  # nor are the errors too large
    else:
        assert float((found.sd < sd + 2.5 * found.sd_error).double().mean()) > 0.95


def test_a_drift_within_the_sums_biases_neither_mean_nor_spread() -> None:
    """All weights drift all the time, as fast as a read's noise in a period: motion of others appears as noise."""
    windows = 30
    updates = windows * 2 * PERIOD
    centre, way = normal(ROWS, COLUMNS), normal(ROWS, COLUMNS, 1.0, seed=8)

    def weights(update: int) -> torch.Tensor:
        return centre + way * (2 * update / (updates - 1) - 1)

    found, _ = follow(weights, updates, 2)
    z = (found.mean - centre) / found.mean_error
    assert abs(float(z.square().mean()) - 1) < 0.35
    # the means of 30 sub-windows of a straight drift from -w to w have the standard deviation w / sqrt(3), near enough
    expected = way.abs() / math.sqrt(3) * math.sqrt((windows**2 - 1) / windows**2 * windows / (windows - 1))
    off = (found.sd - expected) / found.sd_error
    assert abs(float(off.mean())) < 0.25
    assert rms(off) < 1.2
    # in a period a weight moves by +-w / 60, twelve of them by 0.033 rms, beside a noise of 0.062
    assert rms(found.mean_error) > 1.05 * READ / math.sqrt(2 * PERIOD * windows)


def test_fast_motion_averages_out_and_is_in_the_error() -> None:
    """Weights that alternate from read to read: the mean is right, and what it costs is in the standard error."""
    centre, way = normal(ROWS, COLUMNS), normal(ROWS, COLUMNS, 0.1, seed=8)
    found, _ = follow(lambda update: centre + way * (1 if update % 2 else -1), 20 * PERIOD, 1)
    z = (found.mean - centre) / found.mean_error
    assert abs(float(z.square().mean()) - 1) < 0.35
    assert rms(found.mean_error) > 2 * READ / math.sqrt(20 * PERIOD)


def test_scales_turn_chip_units_into_the_networks() -> None:
    truth, scale = normal(ROWS, COLUMNS), torch.linspace(0.5, 2, ROWS)
    chip, array = holding(truth)
    average = RunningAverage((ROWS, COLUMNS), 1, 1, "fc")
    average.read(chip, ((array, 1.0),), 10 * PERIOD, scale)
    found = average.result()
    assert abs(float(((found.mean - truth * scale[:, None]) / found.mean_error).square().mean()) - 1) < 0.35
    assert torch.allclose(found.mean_error[-1] / found.mean_error[0], torch.tensor(4.0), rtol=0.4)


def test_reads_that_saturate_are_read_again_and_do_not_bias() -> None:
    truth = normal(ROWS, COLUMNS, 2.5)
    chip, array = holding(truth)
    average = RunningAverage((ROWS, COLUMNS), 4, 1, "fc")
    average.read(chip, ((array, 1.0),), 40 * PERIOD, ONE)
    found = average.result()
    assert average.state["again"] > 10
    assert abs(float((found.mean * truth).sum() / truth.square().sum()) - 1) < 1e-3
    assert rms((found.mean - truth) / found.mean_error) < 1.3
    assert chip.status().cost["reads"] >= 40 * PERIOD + average.state["again"] + 32  # the pilot's


def test_a_line_at_its_bound_and_one_without_numbers_are_nan() -> None:
    def broken(values: torch.Tensor) -> torch.Tensor:
        values[:, 2] = math.nan
        return values

    truth = normal(ROWS, COLUMNS)
    for chip, array in [damaged(truth, with_values(lambda y: y))]:
        average = RunningAverage((ROWS, COLUMNS), 1, 1, "fc")
        average.read(chip, ((array, 1.0),), PERIOD, ONE)
        chip._damage = with_values(broken)  # type: ignore[attr-defined]
        average.read(chip, ((array, 1.0),), 2 * PERIOD, ONE)
    found = average.result()
    assert bool(found.mean[2].isnan().all())
    assert int(found.mean.isnan().sum()) == COLUMNS


def test_a_state_that_is_put_back_goes_on_bit_for_bit() -> None:
    def run(chip: CrossbarBackend, array: Array, average: RunningAverage, reads: int) -> None:
        for _ in range(reads):
            average.read(chip, ((array, 1.0),), 1, ONE)

    chip, array = holding(normal(ROWS, COLUMNS))
    whole = RunningAverage((ROWS, COLUMNS), 1, 1, "fc")
    run(chip, array, whole, 100)
    half = RunningAverage((ROWS, COLUMNS), 1, 1, "fc")
    chip, array = holding(normal(ROWS, COLUMNS))
    run(chip, array, half, 45)
    other = RunningAverage((ROWS, COLUMNS), 1, 1, "fc").load(half.state)
    run(chip, array, half, 1)  # what is put back is a copy
    chip, array = holding(normal(ROWS, COLUMNS))
    run(chip, array, RunningAverage((ROWS, COLUMNS), 1, 1, "fc"), 45)
    run(chip, array, other, 55)
    for key, value in whole.state.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state[key])), key
