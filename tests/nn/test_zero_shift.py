"""How layers zero-shift their arrays: by which method, and with points in references or kept digitally."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.transfer import train_and_read
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.oracle import oracle
from rpudriver.backends.updates import Drawing, Places, Update
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.calibration.zero_shift_response import ResponseZeroShift
from rpudriver.errors import CheckpointError, ConfigError
from rpudriver.experiment.config import load_config
from rpudriver.experiment.network import zero_shift_of
from rpudriver.nn import AnalogLinear
from rpudriver.trains import TrainSource
from rpudriver.types import Cell, Port
from tests.calibration.spread import true_points
from tests.nn.chips import noisy_chip

METHODS = [AlternatingZeroShift(verify=0), ResponseZeroShift(verify=0)]
SPREAD = {"up_down_d2d": 0.2}


def layer_on(chip: Any, algorithm: Any, **options: Any) -> AnalogLinear:
    return AnalogLinear(40, 30, chip, algorithm, name="fc", **options)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("reference", ["device", "digital"])
def test_a_starts_at_its_points_and_its_columns_read_as_zero(method: Any, reference: Any) -> None:
    chip = noisy_chip(device=SPREAD)
    layer = layer_on(chip, TTv2(reference=reference), zero_shift=method)
    state = layer.grid.tiles[0].state
    array = state.arrays["A"]
    assert array.cell is (Cell.SINGLE if reference == "digital" else Cell.REFERENCE)
    points = torch.zeros(array.shape) if state.points is None else state.points.t()
    error = true_points(chip, array) - points
    # the spread of the points is 0.12; they are known to about 0.016, and devices rest 0.02 off by pulse noise
    assert float(error.abs().median()) < 0.02
    assert float((oracle(chip).true_weights(array) - points).abs().median()) < 0.025
    assert set(layer.findings) == {array.name}


def test_digital_points_are_subtracted_from_the_columns_that_are_read() -> None:
    chip = noisy_chip(read={"output_noise": 0.0}, device={"c2c": 0.0})
    array = chip.allocate("A", 3, 4)
    oracle(chip).set_true_state(array, Port.DEVICE, torch.full((3, 4), 0.25))
    drawing = Drawing(lr=0.1, dw_min=0.01, max_bl=5, update_management=True, bl_management=True)
    reads = Places(np.array([2, 0]), np.array([0, 1]))
    nothing = Update(array, torch.zeros(1, 4), torch.zeros(1, 3), drawing, TrainSource(0, "t"), 0, reads)
    points = torch.arange(12.0).view(4, 3) / 10
    plain = train_and_read(chip, nothing)
    assert torch.equal(train_and_read(chip, nothing, points), plain - points[[2, 0]])


def test_digital_points_belong_to_the_saved_state() -> None:
    models = []
    for reads in (4, 6):
        models.append(
            layer_on(
                noisy_chip(device=SPREAD),
                TTv2(reference="digital"),
                zero_shift=AlternatingZeroShift(reads=reads, verify=0),
            )
        )
    first, second = (model.grid.tiles[0].state.points for model in models)
    assert not torch.equal(first, second)
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(models[1].grid.tiles[0].state.points, first)
    without = layer_on(noisy_chip(device=SPREAD), TTv2(reference="digital"), zero_shift=False)
    with pytest.raises(CheckpointError, match="algorithm state"):
        without.load_state_dict(models[0].state_dict())


def test_whole_mat_vecs_need_reference_devices() -> None:
    with pytest.raises(ValidationError, match=r"reads whole mat-vecs of A.*use reference = 'device'"):
        TikiTaka(gamma=0.1, reference="digital")
    with pytest.raises(ValidationError, match="AnalogSGD has no zero-shifted array"):
        AnalogSGD(reference="digital")
    assert TikiTaka(reference="digital").cell("A") is Cell.SINGLE
    with pytest.raises(ConfigError, match=r"algorithm.*reads whole mat-vecs of A"):
        load_config("digits-tiki-taka", ["algorithm.gamma=0.1", "algorithm.reference=digital"])


def test_the_config_chooses_the_method() -> None:
    def chosen(*overrides: str) -> Any:
        config = load_config("digits-ttv2", overrides)
        return zero_shift_of(config, config.algorithm)  # type: ignore[arg-type]

    plain = chosen()
    assert isinstance(plain, AlternatingZeroShift)
    assert (plain.reads, plain.verify, plain.pulses) == (0, 0, None)  # as in the paper
    assert chosen("algorithm.reference=digital").reads > 0
    assert chosen("zero_shift.pulses=30", "zero_shift.reads=5").settings().items() >= {"pulses": 30, "reads": 5}.items()
    quick = chosen("zero_shift.method=response", "zero_shift.precision=0.03")
    assert isinstance(quick, ResponseZeroShift)
    assert quick.precision == 0.03
    assert chosen("zero_shift.method=none") is False
    with pytest.raises(ConfigError, match="method"):
        chosen("zero_shift.method=alternate")
