"""Weight extraction against the truth: bias, errors, coverage, clipping, stop rule, resumption."""

import itertools
import math

import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.extraction import Extract
from rpudriver.calibration.levels import InputLevels
from rpudriver.errors import CalibrationError, ConfigError, NotArmedError, StepError
from rpudriver.types import Port
from tests.calibration.arrays import holding, normal, placed

STEP = 12 / 255  # of the output converter
READ = math.hypot(0.06, STEP / 12**0.5)  # standard deviation of one read


def slope(found: Extract, truth: torch.Tensor) -> float:
    return float((found.weights_ * truth).sum() / truth.square().sum())


def coverage(found: Extract, truth: torch.Tensor) -> float:
    return float(((found.weights_ - truth).abs() < 1.959964 * found.error_).double().mean())


def rms(values: torch.Tensor) -> float:
    return float(values.double().square().mean().sqrt())


@pytest.mark.parametrize("design", ["orthogonal", "uniform", "one-hot"])
def test_errors_are_those_of_least_squares_and_intervals_cover(design: str) -> None:
    truth = normal(96, 40)
    found = Extract(design=design, reads=640).fit(*holding(truth))
    off = found.weights_ - truth
    energy = {"orthogonal": 1.0, "uniform": 64 / 63 / 3, "one-hot": 1 / 40}[design]
    left = 640 - 41 if design == "uniform" else 640
    limit = READ / math.sqrt(left * energy)
    assert found.reads_ == 640
    # 3840 weights: an rms is good to 1.1 %, the coverage to 0.35 %, the slope to limit / 0.1 / 62; five of these
    assert abs(rms(off) / limit - 1) < 0.06
    assert abs(rms(found.error_) / limit - 1) < 0.06
    assert abs(coverage(found, truth) - 0.95) < 0.018
    assert abs(slope(found, truth) - 1) < 5 * limit / 0.1 / 62
    assert abs(float(found.noise_.square().mean().sqrt()) / READ - 1) < 0.03
    # offsets of zero, each with its own error
    assert rms(found.offset_ / found.offset_error_) < 1.4
    assert found.findings_ == ()


@pytest.mark.parametrize(("design", "clipped"), [("orthogonal", 0.11), ("uniform", 0.0)])
def test_clipped_outputs_are_modelled(design: str, clipped: float) -> None:
    truth = normal(64, 40, 1.2)  # rows of norm 7.6: a tenth of the outputs of inputs +-1 are beyond 12
    found = Extract(design=design, reads=1280, amplitude=1.0).fit(*holding(truth))
    share = 1 - float(found.data_["extracted/seen"].mean())
    assert share > 0.5 * clipped
    # 2560 weights: the coverage is good to 0.43 %, an rms to 1.4 %, the slope to 0.0017 / 1.2 / 50; five of these
    assert abs(coverage(found, truth) - 0.95) < 0.022
    assert abs(rms((found.weights_ - truth) / found.error_) - 1) < 0.07
    assert abs(slope(found, truth) - 1) < 3e-4
    if design == "orthogonal":  # with the bound in the place of what was clipped, they are far off
        raw = found.data_["sums/xy"].float() / (1280 * found.data_["plan/level"])
        assert abs(float((raw * truth).sum() / truth.square().sum()) - 1) > 0.02


def test_a_row_with_one_large_weight_has_honest_errors_too() -> None:
    """What is clipped then lies along this weight, so that it is known worse than the others."""
    truth = normal(200, 24, 0.1)
    truth[:, 3] = 11.9
    found = Extract(reads=256, amplitude=1.0).fit(*holding(truth))
    z = (found.weights_ - truth) / found.error_
    assert 1 - float(found.data_["extracted/seen"].mean()) > 0.1
    # 200 errors of this weight: their rms is good to 5 %, a bias of their mean to 0.07; four of these
    assert rms(z[:, 3]) < 1.2
    assert abs(float(z[:, 3].mean())) < 0.3
    assert float(found.error_[:, 3].mean()) > 1.02 * float(found.error_[:, 4].mean())


def test_the_target_decides_the_reads() -> None:
    truth = normal(40, 60)
    coarse, fine = (Extract(target=target).fit(*holding(truth)) for target in (0.004, 0.002))
    for found, target in ((coarse, 0.004), (fine, 0.002)):
        assert rms(found.error_) <= target
        assert rms(found.weights_ - truth) < 1.1 * target
        # no more than a period of 128 beyond what the noise asks for
        assert found.reads_ <= (READ / target) ** 2 + 128
        assert found.summary()["reached"] is True
    assert fine.reads_ > 3 * coarse.reads_


def test_the_error_falls_with_the_square_root_of_the_reads() -> None:
    truth = normal(64, 30)
    errors = [rms(Extract(reads=64 * 4**k).fit(*holding(truth)).weights_ - truth) for k in range(4)]
    for before, after in itertools.pairwise(errors):
        assert abs(before / after - 2) < 0.2  # each is good to 1.6 %


def test_a_target_beyond_the_reads_is_a_finding_that_says_how_many() -> None:
    found = Extract(target=0.0005, most=512).fit(*holding(normal(16, 20)))
    assert found.reads_ == 512
    (finding,) = found.findings_
    assert finding.kind == "target-not-reached"
    needed = int(finding.message.split("about ")[1].split(" ")[0].replace(",", ""))
    assert abs(needed / (READ / 0.0005) ** 2 - 1) < 0.2


@pytest.mark.parametrize(("design", "needed"), [("orthogonal", 64), ("uniform", 37), ("one-hot", 40)])
def test_too_few_reads_are_refused_before_any_is_sent(design: str, needed: int) -> None:
    chip, array = holding(normal(8, 20))
    for name in ("reads", "most"):
        with pytest.raises(CalibrationError, match=f"{name} = 30 is too few .* at least {needed}"):
            Extract(design=design, **{name: 30}).fit(chip, array)
    assert chip.status().cost["reads"] == 0
    assert Extract(design=design, reads=needed).fit(chip, array).reads_ == needed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"design": "orthogonl"}, "did you mean 'orthogonal'"),
        ({"target": -1.0}, "target"),
        ({"amplitude": 1.2}, r"amplitude = 1.2 must lie in \[0.015873, 1\]"),
        ({"amplitude": 0.01}, "amplitude"),
        ({"reference_column": 20}, "columns 0 .. 19"),
        ({"reference_column": 0, "reference_weight": 0.0}, "tells no gain"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], words: str) -> None:
    chip, array = holding(normal(8, 20))
    with pytest.raises(ConfigError, match=words):
        Extract(**settings).fit(chip, array)  # type: ignore[arg-type]
    assert chip.status().cost["reads"] == 0


def test_a_chip_that_is_not_armed_is_refused() -> None:
    with pytest.raises(NotArmedError):
        Extract().fit(make("simulated"))


def test_reference_and_simulated_give_the_same_weights() -> None:
    truth = normal(8, 12, 2.0)  # with clipped outputs
    fits = [Extract(reads=96, amplitude=1.0).fit(*holding(truth, name)) for name in ("simulated", "reference")]
    assert torch.equal(fits[0].data_["sums/clipped"], fits[1].data_["sums/clipped"])
    assert torch.allclose(fits[0].weights_, fits[1].weights_, atol=2e-3)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_rounding_that_does_not_average_out_is_in_the_error(columns: int) -> None:
    """Without read noise, few columns give few different outputs: the same rounding in every read."""
    truth = normal(400, columns, 0.5)
    found = Extract(reads=1024).fit(*holding(truth, read={"output_noise": 0.0}))
    off = (found.weights_ - truth).abs()
    assert rms(off) > 0.3 * STEP / 12**0.5 / 2**0.5  # the rounding is there
    assert rms(off) < 1.3 * rms(found.error_)
    assert float((off < 1.96 * found.error_).double().mean()) > 0.9


def test_no_converters_and_no_noise_give_the_weights_themselves() -> None:
    truth = normal(10, 20)
    exact = {"input_bits": 0, "output_bits": 0, "output_bound": 0}
    found = Extract().fit(*holding(truth, read={"output_noise": 0.0}, chip=exact))
    assert torch.allclose(found.weights_, truth, atol=1e-6)
    assert found.findings_ == ()


def test_chips_without_transposed_reads_and_with_armed_limits_will_do() -> None:
    from rpudriver.backends.validation import Limits

    truth = normal(16, 20)
    chip, array = holding(truth, chip={"transposed_reads": False})
    chip.arm(Limits(max_input=0.5))
    found = Extract(target=0.004).fit(chip, array)
    assert found.data_["plan/level"] <= 31
    assert rms(found.weights_ - truth) < 0.005


def test_a_sum_is_read_at_once_where_the_chip_can() -> None:
    first, second = normal(16, 20, seed=1), normal(16, 20, seed=2)
    chip, a = holding(first)
    b = placed(chip, second, "B")
    found = Extract(reads=1024).fit_sum(chip, ((a, 0.5), (b, -1.0)))
    assert rms(found.weights_ - (0.5 * first - second)) < 1.2 * READ / 32
    assert rms(Extract(reads=1024).fit(chip, a).weights_ - first) < 1.2 * READ / 32  # and no sum afterwards
    lone, c = holding(first, chip={"summed_reads": False})
    with pytest.raises(StepError, match="one by one"):
        Extract().fit_sum(lone, ((c, 0.5), (placed(lone, second, "B"), 1.0)))


def test_the_weights_stay_where_they_are_and_the_sums_do_not_grow() -> None:
    truth = normal(16, 20)
    chip, array = holding(truth)
    small, large = Extract(reads=64).fit(chip, array), Extract(reads=4096).fit(chip, array)
    assert torch.equal(oracle(chip).true_weights(array), truth)
    for key in ("sums/xy", "sums/y", "sums/yy", "sums/clipped"):
        assert small.data_[key].shape == large.data_[key].shape
    assert chip.status().cost["coincidences"] == 0


def test_an_asymmetric_chip_with_written_weights_is_extracted_as_it_is() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=3)
    chip.arm()
    array = chip.allocate("W", 24, 32)
    chip.write(array, normal(24, 32, 0.2), Port.DEVICE)
    found = Extract(target=0.005).fit(chip, array)
    off = found.weights_ - oracle(chip).true_weights(array)
    assert rms(off) < 0.0056  # 768 weights: good to 2.6 %
    assert InputLevels.of(chip).most >= found.data_["plan/level"]
