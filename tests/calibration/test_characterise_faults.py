from typing import Any

import numpy as np
import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.calibration.characterise import Characterise
from rpudriver.errors import CalibrationError
from rpudriver.types import Port
from tests.calibration.faulty import Damage, Faulty
from tests.calibration.truth import truth_of


def measured(damage: Damage, **options: Any) -> Characterise:
    chip = Faulty(damage, **options)
    chip.arm()
    return Characterise(cycles=2, points=20).fit(chip, chip.allocate("c", 12, 10))


def places(found: Characterise, kind: str) -> list[tuple[int, ...]]:
    return [place for finding in found.findings_ if finding.kind == kind for place in finding.places]


def test_a_sound_chip_has_no_findings_about_lines() -> None:
    assert {finding.kind for finding in measured(Damage()).findings_} <= {"no-estimate", "outlier"}


def test_dead_lines_are_named() -> None:
    found = measured(Damage(dead_columns=(3,), dead_rows=(5, 11)))
    assert places(found, "dead-column") == [(3,)]
    assert places(found, "dead-row") == [(5,), (11,)]
    assert places(found, "stuck-device") == []
    assert bool(found.data_["estimate/dw_min"][:, 3].isnan().all())
    assert int(found.data_["device/good"].sum()) > 85


def test_an_output_that_always_saturates_is_named_and_not_evaluated() -> None:
    found = measured(Damage(saturated=(4,)))
    assert places(found, "saturated-output") == [(4,)]
    assert bool(found.data_["weights/value"][:, 4].isnan().all())
    assert not bool(found.data_["device/stuck"][4].any())
    assert found.summary()["evaluated"] > 100


def test_no_number_ends_the_measurement_with_its_place() -> None:
    with pytest.raises(CalibrationError, match=r"the chip returned nan at \[0, 2\]"):
        measured(Damage(nan=(2,)))


def test_offset_of_outputs_is_measured_and_does_not_bend_weights() -> None:
    offset = tuple(0.1 * row - 0.5 for row in range(12))
    plain, shifted = measured(Damage()), measured(Damage(offset=offset))
    floor = shifted.summary()["noise_floor"]
    means = shifted.data_["outputs/offset"].double().mean(0).numpy()
    assert np.allclose(means, offset, atol=5 * floor["offset_error"] + 0.002)
    for name in ("dw_min", "w_max", "w_min"):
        a, b = plain.summary()["population"][name], shifted.summary()["population"][name]
        assert a["median"] == pytest.approx(b["median"], rel=0.03), name


def test_gain_scales_weights_and_steps_alike() -> None:
    plain, scaled = (measured(Damage(gain=gain)).summary()["population"] for gain in (1.0, 0.8))
    for name in ("dw_min", "w_max", "w_min"):
        assert scaled[name]["median"] == pytest.approx(0.8 * plain[name]["median"], rel=0.03)
    assert scaled["n_states"]["median"] == pytest.approx(plain["n_states"]["median"], rel=0.05)


def test_stuck_devices_are_found_and_no_others() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=3, device={"stuck": {"fraction": 0.05, "value": 0.2}})
    chip.arm()
    array = chip.allocate("c", 24, 24)
    found = Characterise(cycles=2, points=20).fit(chip, array)
    dead = oracle(chip).device_parameters(array, Port.DEVICE)["alive"].numpy() == 0
    assert np.array_equal(found.data_["device/stuck"].numpy(), dead)
    assert set(places(found, "stuck-device")) == {tuple(place) for place in np.argwhere(dead).tolist()}


def test_devices_that_never_move_are_taken_for_moving_ones_at_the_stated_rate() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=3, device={"stuck": {"fraction": 1.0}})
    chip.arm()
    found = Characterise(cycles=2, points=20, false_alarm=0.02).fit(chip, chip.allocate("c", 50, 32))
    moving = 1600 - found.summary()["stuck"]
    # 32 are expected, with a standard deviation of 5.6; errors by scatter or noise, the larger, make it fewer
    assert moving <= 32 + 4 * 5.6
    assert moving > 0
    assert {finding.kind for finding in found.findings_} >= {"dead-row"}
    assert found.summary()["population"]["w_max"]["devices"] <= moving


def test_devices_that_reach_a_bound_within_two_pulses_get_no_numbers() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=3, device={"dw_min": 0.55, "w_max": 0.6, "w_min": -0.6})
    chip.arm()
    found = Characterise(cycles=2).fit(chip, chip.allocate("c", 8, 8))
    assert found.summary()["evaluated"] == 0
    assert len(places(found, "no-estimate")) == 64


def test_reads_that_move_devices_are_named() -> None:
    chip = Faulty(Damage(decay=0.02))
    chip.arm()
    array = chip.allocate("c", 12, 10)
    oracle(chip).set_true_state(array, Port.DEVICE, torch.full(array.shape, 0.4))
    found = Characterise(cycles=2, points=20).fit(chip, array)
    assert len(places(found, "unsteady-read")) >= 10


def test_rounding_that_repeats_itself_is_named() -> None:
    found = measured(Damage(), read={"output_noise": 0.0})
    assert "undithered-read" in {finding.kind for finding in found.findings_}
    assert found.summary()["noise_floor"]["read_noise"] is None


def test_write_noise_is_told_from_c2c_noise_and_read_noise() -> None:
    chip = make("simulated", preset="asymmetric-100", seed=4, device={"write_noise": 1.0})
    chip.arm()
    array = chip.allocate("c", 24, 24)
    found = Characterise().fit(chip, array)
    written = found.evaluation_.estimates["write_noise"]
    known = np.isfinite(written.value)
    inside = (written.low <= 0.012) & (written.high >= 0.012)
    assert 0.91 < inside[known].mean() < 0.99  # 576 devices: 95 % to 0.9 %
    assert np.nanmedian(written.value) == pytest.approx(0.012, rel=0.05)
    assert found.summary()["common_c2c"] == pytest.approx(0.3, rel=0.1)
    true = truth_of(chip, array)["dw_min"]
    step = found.evaluation_.estimates["dw_min"]
    assert np.nanmedian(np.abs(step.value - true) / step.error) == pytest.approx(0.674, abs=0.12)
