import os
from pathlib import Path

import pytest

from rpudriver.backends.hardware.arc2.driver import Arc2Driver
from rpudriver.backends.hardware.profile import load_chip
from rpudriver.backends.validation import Limits
from tests.backends.hardware.arc2 import recording_arc2


@pytest.fixture
def profile():
    return load_chip("arc2-32")


@pytest.fixture
def settings(profile):
    return profile.settings(Limits())


@pytest.fixture
def chip(tmp_path, monkeypatch):
    """Return a function that loads what the devices of the double saw; the child process finds the double by name."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("ARC2_CHIP", str(tmp_path / "chip.json"))
    monkeypatch.delenv("ARC2_FAULT", raising=False)
    return recording_arc2.load


@pytest.fixture
def driver(chip, profile, tmp_path):
    firmware = tmp_path / "arc2fw.bin"
    firmware.write_bytes(b"firmware")
    driver = Arc2Driver(profile, firmware, timeout_s=1.0, library="recording_arc2")
    yield driver
    driver.close()
