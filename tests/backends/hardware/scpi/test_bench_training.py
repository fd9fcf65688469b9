"""A small training over the bench, against the simulator with the same devices."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_iris
from torch.nn.functional import cross_entropy

from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.hardware.emulator.bench import EmulatedBench
from rpudriver.backends.registry import make
from rpudriver.nn import AnalogLinear, AnalogOptimizer
from tests.backends.hardware.scpi.benches import at_rest, bench, open_bench

__all__ = ["bench"]  # a fixture
TRAIN, EPOCHS, BATCH = 105, 4, 5


def trained(chip: CrossbarBackend, seed: int) -> float:
    """Train 4 inputs and a bias to 3 classes by Tiki-Taka; return the accuracy on the 45 flowers left over."""
    features, classes = load_iris(return_X_y=True)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(features, dtype=torch.float32)[order], torch.tensor(classes)[order]
    x = (x - x.mean(0)) / x.std(0) / 3  # into the range of the inputs
    chip.arm()
    layer = AnalogLinear(4, 3, chip, TikiTaka(), name="fc", seed=seed)
    optimizer = AnalogOptimizer(layer, lr=0.1)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(TRAIN, generator=torch.Generator().manual_seed(epoch)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(3 * layer(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        return float((layer(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())


def test_the_bench_trains_as_well_as_the_simulator(bench: EmulatedBench, tmp_path: Path) -> None:
    sizes = {"rows": 8, "columns": 8, "arrays": 4}
    simulated = []
    for seed in range(8):
        options = {"preset": "asymmetric-100", "read": {"output_noise": 0.0}, "chip": sizes, "seed": seed}
        with make("simulated", profile="small", **options) as chip:
            simulated.append(trained(chip, seed))
    for array in range(4):
        bench.oracle.set_weights(array, 0.0)
    with open_bench(bench, tmp_path) as chip:
        reached = trained(chip, 1)
    spread = torch.tensor(simulated)
    # one draw against the mean of eight: three standard deviations of their difference
    tolerance = 3 * float(spread.std()) * (1 + 1 / 8) ** 0.5
    assert reached == pytest.approx(float(spread.mean()), abs=tolerance)
    assert reached > 0.8
    assert at_rest(bench)
