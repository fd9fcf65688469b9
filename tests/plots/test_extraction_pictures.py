"""Pictures of extraction and model average; what is odd about the data must not break them."""

import math

import pytest
import torch

from rpudriver.calibration.extraction import Extract
from rpudriver.experiment.datasets import write_dataset
from rpudriver.plots.average import plot_average
from rpudriver.plots.extraction import plot_extraction
from rpudriver.types import ReadResult
from tests.calibration.arrays import damaged, holding, normal
from tests.plots.test_pictures import assert_picture


@pytest.mark.parametrize("shape", [(1, 1), (24, 40)])
def test_an_extraction_is_drawn(tmp_path, shape):
    found = Extract(target=0.004).fit(*holding(normal(*shape)))
    plot_extraction(found, tmp_path / "e.png")
    assert_picture(tmp_path / "e.png")
    residuals = found.residuals()
    assert torch.isfinite(residuals).all()
    if shape[0] > 1:  # 5 000 or so of them: a standard deviation of 1 is good to 1 %
        assert abs(float(residuals.std()) - 1) < 0.06


def test_outputs_that_are_not_told_are_left_out(tmp_path):
    def all_stuck(result: ReadResult, _):
        return ReadResult(torch.full_like(result.values, 12.0), torch.ones_like(result.saturated))

    plot_extraction(Extract(reads=64).fit(*damaged(normal(4, 8), all_stuck)), tmp_path / "stuck.png")
    assert (tmp_path / "stuck.png").stat().st_size > 10_000


def test_an_average_is_drawn(tmp_path):
    parts = {}
    for name, shape in (("0.weight", (8, 30)), ("2.weight", (3, 8))):
        for part in ("mean", "sd", "sd_error"):
            parts[f"{part}/{name}"] = normal(*shape).abs()
    parts["sd/0.weight"][2] = math.nan
    write_dataset(tmp_path / "average.h5", parts, {}, complete=True)
    plot_average(tmp_path / "average.h5", tmp_path / "average.png")
    assert_picture(tmp_path / "average.png")
