import pytest
import torch

from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.calibration.probe import Probe, sequence
from rpudriver.errors import CalibrationError, LimitError, UnsupportedError
from rpudriver.experiment.interruption import Interrupted
from tests.experiment.test_measurement import folder


def chip(name="simulated", limits=None, **options):
    made = make(name, **{"preset": "asymmetric-100", "seed": 3, "chip": {"rows": 5, "columns": 4}} | options)
    made.arm(limits)
    return made


def test_a_sequence_is_as_long_as_stated_and_follows_from_its_seed():
    groups = sequence(100, 4)
    assert [group.pulses for group in groups] == [300, 10, 15, 25, 50, 50, 10, 15, 25, 100, 200, 30, 30, 30, 30]
    assert groups == sequence(100, 4)
    assert groups[:-4] == sequence(100, 5)[:-4]
    assert groups[-4:] != sequence(100, 5)[-4:]
    assert all(0 < abs(run) <= 10 for group in groups[-4:] for run in group.runs)
    assert min(group.pulses for group in sequence(2, 0)) == 1


def test_reads_tell_the_weights_within_their_errors():
    made = chip()
    probe = Probe().fit(made)
    array = made.status().arrays[0]
    size = probe.data_["amplitude"]
    error = 0.0615 / size / probe.data_["vectors"] ** 0.5  # read noise 0.06, converter 0.0136
    miss = (probe.reads_[-1] - oracle(made).true_weights(array)) / error
    assert float(miss.square().mean().sqrt()) == pytest.approx(1.0, abs=4 / 40**0.5)
    assert probe.record_.cost["coincidences"] == 20 * probe.summary()["pulses_per_device"]
    assert probe.record_.cost["reads"] == 15 * probe.summary()["vectors_per_read"]


def test_the_reference_backend_goes_the_same_way():
    fast, slow = Probe().fit(chip()), Probe().fit(chip("reference"))
    torch.testing.assert_close(
        fast.reads_, slow.reads_, atol=0.012, rtol=0
    )  # a level of the converter: 0.047 in a read


def test_limits_split_pulses_and_change_nothing():
    free, limited = Probe().fit(chip()), Probe().fit(chip(limits=Limits(max_bl=7, max_device_pulses=9)))
    torch.testing.assert_close(free.reads_, limited.reads_)
    with pytest.raises(LimitError, match="arm at least 2"):
        Probe().fit(chip(limits=Limits(max_device_pulses=1)))


def test_another_chip_goes_through_exactly_the_same():
    first = Probe(seed=2).fit(chip())
    second = first.for_another().fit(chip(seed=9, device={"dw_min": 0.02}))
    assert first.groups_ == second.groups_
    for name in ("states", "vectors", "amplitude"):
        assert first.data_[name] == second.data_[name]


def test_it_resumes_bit_for_bit(tmp_path):
    whole = Probe().fit(chip())
    with pytest.raises(Interrupted):
        Probe().fit(chip(), journal=folder(tmp_path / "p", stop_after=4))
    resumed = Probe().fit(chip(), journal=folder(tmp_path / "p", resume=True))
    assert torch.equal(resumed.reads_, whole.reads_)
    assert resumed.record_.cost == whole.record_.cost


def test_pulses_of_one_direction_and_reads_that_are_no_numbers_are_refused():
    kinds = {"update": {"volts_up": 1.0, "volts_down": -1.0, "width_s": 1e-6, "polarity": "up"}}
    made = chip(chip={"rows": 5, "columns": 4, "kinds": kinds})
    with pytest.raises(UnsupportedError, match="go up only"):
        Probe().fit(made)
    assert not any(made.status().cost.values())
    broken = chip()
    execute = broken._execute
    broken._execute = lambda steps: [type(r)(r.values * torch.nan, r.saturated) for r in execute(steps)]
    with pytest.raises(CalibrationError, match="nan"):
        Probe().fit(broken)
