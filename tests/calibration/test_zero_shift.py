"""What both methods do: points that read as zero, references of either kind, verification, findings."""

import math
from typing import Any

import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.calibration.zero_shift import ZeroShift
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.errors import CalibrationError, ConfigError, StepError
from rpudriver.types import Cell, Port
from tests.calibration.spread import Damaged, scattered, spread_chip, true_points

METHODS = [AlternatingZeroShift, ResponseZeroShift]
Method = type[ZeroShift]


def kinds(done: ZeroShift) -> set[str]:
    return {finding.kind for finding in done.findings_}


def places(done: ZeroShift, kind: str) -> set[tuple[int, ...]]:
    return {place for finding in done.findings_ if finding.kind == kind for place in finding.places}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "shape"), [("simulated", (32, 32)), ("reference", (6, 8))])
def test_symmetry_points_read_as_zero(method: Method, name: str, shape: tuple[int, int]) -> None:
    chip, array = spread_chip(name=name, shape=shape, up_down_d2d=0.2)
    assert true_points(chip, array).std() > 0.09  # before, they are far from what reads as zero
    done = method().fit(chip, array)
    left = true_points(chip, array)
    # 1 % of the range is 0.012. The point is known to about 0.016 (response) or 0.011 (averaged pulses), the reference
    # is written to 0.004: a median of 0.6745 of 0.017; 48 devices tell it to 20 %.
    assert float(left[done.live_].abs().median()) < 0.0125 * (1.4 if shape == (6, 8) else 1)
    # devices are back at their points: within pulse noise 0.03, and what a step reaches
    assert float(oracle(chip).true_weights(array).abs().median()) < 0.01
    assert done.residual_.shape == done.points_.shape == shape


@pytest.mark.parametrize("method", METHODS)
def test_verification_is_independent_and_tells_the_truth(method: Method) -> None:
    chip, array = spread_chip(shape=(48, 48))
    done = method(rest=False).fit(chip, array)
    found = done.summary()["residual"]
    well = done.live_ & (done.residual_error_ < 1.5 * done.residual_error_[done.live_].median())
    truth = true_points(chip, array)
    rms = float(truth[well].square().mean().sqrt())
    assert found["rms"] == pytest.approx(rms, abs=4 * found["rms_error"] + 0.1 * rms)
    covered = ((done.residual_ - truth)[well].abs() < 1.96 * done.residual_error_[well]).double().mean()
    assert float(covered) > 0.93  # 2000 devices tell 95 % to 0.5 %


@pytest.mark.parametrize("method", METHODS)
def test_a_reference_that_is_moved_afterwards_is_noticed(method: Method) -> None:
    class Slipped(Damaged):
        """References of the first row slip by a sixth of the range once they were written."""

        def write(self, array: Any, target: torch.Tensor, port: Port = Port.DEVICE) -> torch.Tensor:
            achieved = super().write(array, target, port)
            if port is Port.REFERENCE:
                state = oracle(self).true_state(array, Port.REFERENCE)
                state[0] += torch.where(state[0] > 0, -0.2, 0.2)
                oracle(self).set_true_state(array, Port.REFERENCE, state)
            return achieved

    chip = Slipped()
    chip.arm()
    done = method(rest=False).fit(chip, scattered(chip, (16, 16), Cell.REFERENCE))
    rows = [row for row, _ in places(done, "not-zeroed")]
    assert rows.count(0) >= 12  # of 16
    assert len(rows) - rows.count(0) <= 8


@pytest.mark.parametrize("method", METHODS)
def test_points_are_kept_digitally(method: Method) -> None:
    chip, array = spread_chip(cell=Cell.SINGLE)
    done = method(reference="digital").fit(chip, array)
    assert torch.equal(done.reference_, done.points_)
    error = (done.reference_ - true_points(chip, array))[done.live_]
    assert float(error.abs().median()) < 0.0125
    assert "reference" not in done.summary()
    # devices read as their points in the end
    assert float((oracle(chip).true_weights(array) - done.points_).abs().median()) < 0.01


def test_the_response_needs_a_fraction_of_the_pulses() -> None:
    chip, array = spread_chip(0.001, (48, 48), Cell.SINGLE)
    points = true_points(chip, array)
    quick = ResponseZeroShift(reference="digital", precision=0.025, verify=0, rest=False).fit(chip, array)
    assert float((quick.points_ - points)[quick.live_].abs().median()) < 0.0135
    assert float(quick.pulses_.double().mean()) < 500
    chip, array = spread_chip(0.001, (48, 48), Cell.SINGLE)
    slow = AlternatingZeroShift(reference="digital", pulses=1500, verify=0, rest=False).fit(chip, array)
    assert float((slow.points_ - points).abs().median()) > 0.0135  # three times as many do not suffice


@pytest.mark.parametrize("method", METHODS)
def test_same_result_after_fitting_twice_and_on_any_number_of_threads(method: Method) -> None:
    first = method().fit(*spread_chip(shape=(12, 10)))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        second = method().fit(*spread_chip(shape=(12, 10)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first.points_, second.points_)
    assert torch.equal(first.residual_, second.residual_)
    assert first.record_.cost == second.record_.cost


@pytest.mark.parametrize("method", METHODS)
def test_armed_limits_are_kept(method: Method) -> None:
    chip, array = spread_chip(shape=(8, 8))
    chip.arm(Limits(max_bl=2, max_device_pulses=64, max_input=0.5))
    done = method().fit(chip, array)
    assert int(done.live_.sum()) >= 62


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused_before_anything_is_sent() -> None:
    chip = make("null", preset="asymmetric-100")
    chip.arm()
    for method in METHODS:
        with pytest.raises(StepError, match=r"Cell\.REFERENCE"):
            method().fit(chip, chip.allocate("A", 4, 4))
        with pytest.raises(ConfigError, match=r"pulses = -1 must lie in \[0"):
            method(pulses=-1).fit(chip, chip.allocate("B", 4, 4, Cell.REFERENCE))
        with pytest.raises(ConfigError, match="did you mean 'digital'"):
            method(reference="digitall").fit(chip, chip.allocate("B", 4, 4, Cell.REFERENCE))
    with pytest.raises(ConfigError, match="points that are kept digitally must be read"):
        AlternatingZeroShift(reference="digital", reads=0).fit(chip, chip.allocate("A", 4, 4))
    assert not any(chip.status().cost.values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("after", [0, 6])
def test_nan_is_an_error_that_names_the_line(method: Method, after: int) -> None:
    chip = Damaged(nan_after=after)
    chip.arm()
    with pytest.raises(CalibrationError, match=r"nan at \[0, 0\]"):
        method().fit(chip, scattered(chip, (8, 8), Cell.REFERENCE))


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_column_is_named_as_one(method: Method) -> None:
    chip = Damaged(open_column=3)
    chip.arm()
    done = method().fit(chip, scattered(chip, (8, 8), Cell.REFERENCE))
    assert places(done, "dead-column") == {(3,)}
    assert not done.live_[:, 3].any()
    assert "stuck-device" not in kinds(done)


@pytest.mark.parametrize("method", METHODS)
def test_a_saturated_output_is_named_and_left_alone(method: Method) -> None:
    chip = Damaged(saturated_row=2)
    chip.arm()
    array = scattered(chip, (8, 8), Cell.REFERENCE)
    before = oracle(chip).true_state(array, Port.REFERENCE)[2]
    done = method().fit(chip, array)
    assert places(done, "saturated-output") == {(2,)}
    assert not done.live_[2].any()
    assert done.live_[[0, 1, 3, 4, 5, 6, 7]].all()
    assert done.points_[2].isnan().all()
    assert torch.equal(oracle(chip).true_state(array, Port.REFERENCE)[2], before)
    assert math.isfinite(done.summary()["residual"]["rms"])


@pytest.mark.parametrize("method", METHODS)
def test_stuck_devices_are_named(method: Method) -> None:
    chip, array = spread_chip(shape=(24, 24), stuck={"fraction": 0.05, "value": 0.1})
    done = method().fit(chip, array)
    dead = oracle(chip).device_parameters(array, Port.DEVICE)["alive"] == 0
    named = torch.zeros(array.shape, dtype=torch.bool)
    for row, column in places(done, "stuck-device"):
        named[row, column] = True
    # two standard errors are asked for: of 27 dead ones one may look as if it crept
    assert int((named & dead).sum()) >= 0.9 * int(dead.sum())
    assert int((named & ~dead).sum()) <= 4  # devices of the slow tail, a seventh of the nominal step, may join them


def test_devices_without_a_symmetry_point_are_named_or_found_at_their_bound() -> None:
    options: dict[str, Any] = {"response": {"family": "constant"}, "up_down": 0.4, "up_down_d2d": 0.0}
    chip, array = spread_chip(shape=(16, 16), cell=Cell.SINGLE, **options)
    done = ResponseZeroShift(reference="digital", verify=0, rest=False).fit(chip, array)
    named = torch.zeros(array.shape, dtype=torch.bool)
    for finding in done.findings_:
        for row, column in finding.places:
            named[row, column] = True
    # Up steps are longer than down steps everywhere, so alternating pulses would lead to the upper bound and hold the
    # device there, within a step or two: that is its point, though the response is not smooth there.
    bounds = oracle(chip).device_parameters(array, Port.DEVICE)["w_max"]
    assert float(named.double().mean()) > 0.6
    assert float((bounds - done.points_)[~named].abs().max()) < 0.12


def test_a_reference_that_cannot_reach_the_point_is_named() -> None:
    chip, array = spread_chip(shape=(32, 32), up_down=0.6, up_down_d2d=0.1)  # points near 0.4
    oracle(chip).set_true_state(array, Port.REFERENCE, torch.full(array.shape, -0.5))
    done = AlternatingZeroShift(average=0.0, verify=0, rest=False).fit(chip, array)
    # devices rest where alternating pulses left them; what they still read as is what the reference lacks
    left, named = oracle(chip).true_weights(array).abs(), places(done, "reference-out-of-reach")
    surely, surely_not = left > 0.08, left < 0.04  # 5 % of the range is 0.06; read to 0.003
    assert int(surely.sum()) > 20
    assert int(surely_not.sum()) > 20
    assert {tuple(place) for place in surely.nonzero().tolist()} <= named
    assert not named & {tuple(place) for place in surely_not.nonzero().tolist()}


def test_too_few_pulses_are_not_hidden() -> None:
    chip, array = spread_chip(shape=(16, 16))
    done = ResponseZeroShift(pulses=20, verify=0, rest=False).fit(chip, array)
    assert int(done.pulses_.max()) <= 20
    unsure = places(done, "imprecise-point") | places(done, "point-out-of-range") | places(done, "no-symmetry-point")
    assert len(unsure) > 200  # of 256
    assert float(done.errors_[done.live_].median()) > 0.03
