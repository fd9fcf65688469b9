"""The hardware backend over ArC TWO: steps go in, the devices of the double move, and a failure leaves it at rest."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from rpudriver.backends import hardware
from rpudriver.backends.hardware.journal_records import Type, lines
from rpudriver.backends.hardware.profile import chip_path
from rpudriver.backends.writing import read_weights
from rpudriver.errors import BoardError, LinkLostError, OwnerError
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse, Read
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


def test_firmware_that_the_profile_does_not_name_reaches_no_instrument(chip, tmp_path):
    ours, other = hashlib.sha256(b"fw").hexdigest()[:16], "0123456789abcdef"
    text, named = chip_path("arc2-32").read_text(), tmp_path / "named.toml"
    named.write_text(f'firmware = "{other}"\n{text}')
    with pytest.raises(BoardError, match=f"the firmware is {ours}, .* names {other}"):
        open_in(tmp_path, chip=str(named))
    assert not chip()["events"]
    named.write_text(f'firmware = "{ours}"\n{text}')
    with open_in(tmp_path, chip=str(named)) as opened:
        opened.arm()


def test_a_batch_whose_reply_was_lost_is_uncertain_read_back_and_never_sent_again(chip, tmp_path, monkeypatch):
    opened, path = open_in(tmp_path), tmp_path / "j"
    opened.keep_journal(path, resume=False)
    opened.arm()
    array = opened.allocate("W", 2, 3)
    step = Pulse(array, counted_pulses(torch.full((2, 3), 1)))
    opened.run([step])
    opened.idle()
    monkeypatch.setenv("ARC2_FAULT", "late")  # of the next child
    opened.close()
    opened = open_in(tmp_path)
    opened.keep_journal(path, resume=True)
    opened.arm()
    array = opened.allocate("W", 2, 3)
    opened.run([step])  # from the journal
    with pytest.raises(LinkLostError):
        opened.run([step])
    monkeypatch.delenv("ARC2_FAULT")
    opened.arm()  # the program goes on: devices are read back before the next batch
    read = Read(((array, 1.0),), torch.eye(3))
    opened.run([read])
    opened.close()
    with open_in(tmp_path) as opened:
        opened.keep_journal(path, resume=True)
        opened.arm()
        opened.allocate("W", 2, 3)
        opened.run([step])
        with pytest.raises(LinkLostError, match="broke off when it was done first"):
            opened.run([step])
        opened.run([read])
    kinds = [line.type for line in lines(path)]
    assert (kinds.count(Type.INTENT), kinds.count(Type.RESULT)) == (3, 2)
    assert (kinds.count(Type.UNCERTAIN), kinds.count(Type.REREAD)) == (1, 1)
    seen = np.array(chip()["pulses"])
    assert (seen.sum(), seen.max()) == (12, 2)
    assert chip()["levels"] == [0.0] * 64


PROGRAM = """
import sys, time
from pathlib import Path
import torch
from rpudriver.trains import counted_pulses
from rpudriver.types import Pulse
from tests.backends.hardware.arc2.chips import open_in
with open_in(Path(sys.argv[1])) as chip:
    chip.arm()
    array = chip.allocate("W", 4, 4)
    for n in range(10**6):
        chip.run([Pulse(array, counted_pulses(torch.full((4, 4), 1)))])
        print(n, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_outputs_are_at_rest_after_a_signal(number, chip, tmp_path):
    words = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        for _ in range(3):
            assert program.stdout.readline()
        program.send_signal(number)
        program.communicate(timeout=30)
    for _ in range(200):
        if not any(chip()["levels"]):
            break
        time.sleep(0.02)
    assert chip()["levels"] == [0.0] * 64
    assert np.array(chip()["pulses"]).max() >= 3


def test_an_instrument_has_one_owner_whatever_its_chip_is_called(chip, tmp_path):
    text = (Path(hardware.__file__).parent / "chips/arc2-32.toml").read_text()
    other = tmp_path / "other.toml"
    other.write_text(text.replace('chip = "arc2-32"', 'chip = "other"'))
    with open_in(tmp_path):
        with pytest.raises(OwnerError, match=rf"ArC TWO 0 is in use by process {os.getpid()} .* with chip 'arc2-32'"):
            open_in(tmp_path, chip=str(other))
        with pytest.raises(BoardError, match="no ArC TWO on port 1"):
            open_in(tmp_path, chip=str(other), port=1)
    open_in(tmp_path, chip=str(other)).close()


def test_opening_changes_no_output_and_closing_rests(chip, tmp_path):
    opened = open_in(tmp_path)
    assert chip()["events"] == []
    opened.close()
    assert chip()["events"] == ["open", "execute"]


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
