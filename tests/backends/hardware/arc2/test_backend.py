"""The hardware backend over ArC TWO: steps go in, the devices of the double move, and a failure leaves it at rest."""

import numpy as np
import pytest
import torch

from rpudriver.backends.writing import read_weights
from rpudriver.errors import LinkLostError
from tests.backends.hardware.arc2 import recording_arc2
from tests.backends.hardware.arc2.chips import open_in
from tests.backends.reference_chip import random_trains


def test_pulses_and_reads_of_a_step_sequence(chip, tmp_path):
    opened = open_in(tmp_path)
    opened.arm()
    array = opened.allocate("W", 6, 9)
    (place,) = array.parts
    before = read_weights(opened, array)
    trains = random_trains((6, 9), 3, 20, seed=4)
    opened.apply_pulses(array, trains)
    seen = np.array(chip()["pulses"])
    moved = seen[place.row : place.row + 6, place.column : place.column + 9]
    assert np.abs(seen).sum() == np.abs(moved).sum() > 20
    after = read_weights(opened, array)
    step = 12 / 2047  # of the output converter
    assert (after - before).numpy() == pytest.approx(recording_arc2.STEP * moved, abs=1.5 * step)
    assert opened.wear().total >= np.abs(moved).sum()
    opened.close()


def test_a_lost_link_is_one_error_and_closing_still_rests(chip, tmp_path, monkeypatch):
    monkeypatch.setenv("ARC2_FAULT", "hang")
    opened = open_in(tmp_path)
    opened.arm()
    array = opened.allocate("W", 2, 2)
    with pytest.raises(LinkLostError):
        opened.read_matvec(array, torch.ones(1, 2))
    monkeypatch.delenv("ARC2_FAULT")
    opened.close()
    assert chip()["events"] == ["open", "execute", "open", "execute"]  # by a new instance of the library
    assert chip()["levels"] == [0.0] * 64
