"""The whole contract over ArC TWO's driver, its child process and the double, with the emulated chip as its devices."""

import pytest

from rpudriver.backends.checker import check_backend
from tests.backends.hardware.arc2.chips import emulated, open_in


@pytest.fixture
def silicon(chip, tmp_path, monkeypatch):
    with emulated(tmp_path) as (socket, oracle):
        monkeypatch.setenv("ARC2_SOCKET", socket)
        yield oracle


def test_arc2_keeps_the_contract(silicon, tmp_path):
    report = check_backend(lambda: open_in(tmp_path, timeout_s=10.0))
    assert report.passed, str(report)
    assert len(report.names("passed")) > 40
