"""Trains of a batch on a CUDA device are those of the CPU, bit for bit: integers drawn from the same thresholds."""

import pytest
import torch

from rpudriver import trains
from rpudriver.trains import TrainSource, draw_trains
from tests.interpreted import triton_device

DEVICE = triton_device()


@pytest.mark.parametrize("max_bl", [31, 70])
def test_trains_through_triton(max_bl: int, monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(max_bl)
    x, d = torch.randn(3, 70, generator=g).double(), torch.randn(3, 9, generator=g).double()
    x[1] = 0  # a sample that fires nothing

    def drawn(where: torch.device) -> trains.PulseTrains:
        source = TrainSource(7, "t")
        return draw_trains(x.to(where), d.to(where), lr=0.2, dw_min=0.003, max_bl=max_bl, source=source, first=2**33)

    expected = drawn(torch.device("cpu"))
    monkeypatch.setattr(trains, "available", lambda tensor: True)
    found = drawn(DEVICE)
    for name in ("x_words", "d_words", "x_negative", "d_negative", "bl"):
        assert torch.equal(getattr(found, name).cpu(), getattr(expected, name))
    assert expected.x_words.any()
    assert not expected.x_words[1].any()
