"""The whole contract over ArC TWO's driver, its child process and the double, with the emulated chip as its devices."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.checker import check_backend
from rpudriver.backends.registry import make
from rpudriver.nn import AnalogLinear, AnalogOptimizer
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


def test_ttv2_trains_on_it_as_on_the_simulator(silicon, tmp_path):
    with open_in(tmp_path, timeout_s=10.0) as chip:
        chip.arm()
        on_chip = trained(chip)
    found = []
    for seed in range(4):
        with make("simulated", preset="asymmetric-100", seed=seed) as chip:
            chip.arm()
            found.append(trained(chip))
    print(on_chip, found)
    assert on_chip > 0.8
    assert on_chip > min(found) - 0.05


def trained(chip):
    """Return the test accuracy of one layer of TTv2 that learns the classes of a random teacher."""
    draw = torch.Generator().manual_seed(7)
    x = torch.rand(400, 9, generator=draw) * 2 - 1
    y = (x @ torch.randn(9, 4, generator=draw)).argmax(1)
    model = AnalogLinear(9, 4, chip, TTv2(fast_lr=0.1, transfer_lr=2.0), name="fc", seed=1)
    optimizer = AnalogOptimizer(model, lr=0.1)
    for epoch in range(2):
        for batch in torch.randperm(240, generator=draw).split(8):
            optimizer.zero_grad()
            cross_entropy(4 * model(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        return float((model(x[240:]).argmax(1) == y[240:]).float().mean())
