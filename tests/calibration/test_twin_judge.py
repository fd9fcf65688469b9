import pytest
import torch

from rpudriver.backends.registry import make
from rpudriver.calibration.probe import Probe
from rpudriver.calibration.twin_judge import judge
from rpudriver.errors import CalibrationError

SIDE = 24


def probed(seed, like=None, side=SIDE, **device):
    chip = make("simulated", preset="asymmetric-100", seed=seed, device=device, chip={"rows": side, "columns": side})
    chip.arm()
    return (Probe() if like is None else like.for_another()).fit(chip)


def test_a_right_twin_is_accepted_and_wrong_ones_are_rejected():
    """examples/twin_power.py counts both over 100 chips; the seeds of these are fixed."""
    chip = probed(1)
    right = judge(chip, probed(2, chip), permutations=199)
    assert right.test.p > 0.05
    assert right.findings == ()
    spread = {"d2d": 0.3}
    wrong = (
        {"dw_min": {"mean": 0.0132} | spread},
        {"dw_min": {"mean": 0.0108} | spread},
        {"up_down": 0.1},
        {"up_down": -0.1},
    )
    for device in wrong:
        assert judge(chip, probed(2, chip, **device), permutations=199).test.p == 1 / 200


def test_stuck_devices_that_the_twin_lacks_are_named():
    chip = probed(1, stuck={"fraction": 0.05, "value": 0.1})
    still = (chip.reads_[2:6].std(0) < 0.02) & (chip.reads_.mean(0) - 0.1).abs().lt(0.02)
    found = judge(chip, probed(2, chip), permutations=199)
    assert found.test.p == 1 / 200
    stuck = set(map(tuple, still.nonzero().tolist()))
    named = next(finding for finding in found.findings if finding.kind == "unlike-twin")
    assert len(stuck & set(named.places)) >= 0.9 * len(stuck)
    assert {(row, column) for row, column, _ in found.worst} <= stuck


def test_devices_of_a_line_that_are_alike_are_reported():
    chip = probed(1)
    twin = probed(2, chip)
    gains = 1 + 0.3 * torch.randn(SIDE, 1, generator=torch.Generator().manual_seed(0))
    chip.reads_ = chip.reads_ * gains
    assert "rows-differ" in [finding.kind for finding in judge(chip, twin, permutations=99).findings]


def test_rows_that_could_not_be_read_are_left_out():
    chip = probed(1)
    chip.reads_[:, 3] = torch.nan
    found = judge(chip, probed(2, chip), permutations=99)
    assert [finding.kind for finding in found.findings] == ["saturated-output"]
    assert found.findings[0].places == ((3,),)
    assert 3 not in found.places[:, 0]
    assert found.test.p > 0.05


def test_different_probes_and_devices_that_do_not_move_are_refused():
    chip = probed(1)
    other = Probe(seed=5).fit(make_armed())
    with pytest.raises(CalibrationError, match="for_another"):
        judge(chip, other)
    chip.reads_ = torch.zeros_like(chip.reads_)
    still = probed(2, chip)
    still.reads_ = torch.zeros_like(still.reads_)
    with pytest.raises(CalibrationError, match="moved"):
        judge(chip, still)


def make_armed():
    chip = make("simulated", preset="asymmetric-100", chip={"rows": SIDE, "columns": SIDE})
    chip.arm()
    return chip
