import io
from pathlib import Path
from typing import Any

import pytest
import torch

from rpudriver.algorithms.base import Algorithm
from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.errors import CheckpointError
from rpudriver.nn import AnalogLinear
from tests.nn.chips import noisy_chip, train

ALGORITHMS = [
    AnalogSGD(),
    TikiTaka(gamma=0.1),
    TTv2(n_s=3, hysteresis=0.2),
    TTv2(reference="digital"),
]


def network(algorithm: Algorithm[Any], name: str = "simulated", **options: Any) -> torch.nn.Sequential:
    """Two layers of several tiles on a chip of their own."""
    small = {"rows": 4, "columns": 4, "arrays": 128}
    chip = noisy_chip(name, chip=small, **options)
    shift = AlternatingZeroShift(pulses=20, reads=2, verify=0)  # a short one: only state matters here
    return torch.nn.Sequential(
        AnalogLinear(5, 4, chip, algorithm, name="a", zero_shift=shift, learnable_scale=True),
        torch.nn.Tanh(),
        AnalogLinear(4, 3, chip, algorithm, name="b", zero_shift=shift, bias="digital", columnwise=True),
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_training_goes_on_identically_on_a_fresh_chip(algorithm: Algorithm[Any], tmp_path: Path) -> None:
    model = network(algorithm)
    train(model, 0, 4)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    expected = train(model, 4, 10)
    fresh = network(algorithm)
    train(fresh, 20, 22)  # has its own history, which loading replaces
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert train(fresh, 4, 10) == expected
    for ours, theirs in zip(_tensors(model.state_dict()), _tensors(fresh.state_dict()), strict=True):
        assert torch.equal(ours, theirs)


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return [tensor for part in parts for tensor in _tensors(part)]


def test_a_saved_state_does_not_change_with_further_training() -> None:
    model = network(TTv2())
    state = model.state_dict()
    before = [tensor.clone() for tensor in _tensors({key: state[key] for key in state if "extra" in key})]
    train(model, 0, 3)
    after = _tensors({key: state[key] for key in state if "extra" in key})
    assert len(before) > 10
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_same_network_trains_on_the_reference_chip() -> None:
    """One network, unchanged, on both simulators: float32 and float64 agree until rounding separates them."""
    losses = [train(network(TTv2(), name), 0, 2) for name in ("simulated", "reference")]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_states_that_do_not_belong_are_refused() -> None:
    model = network(TTv2())
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    with pytest.raises(CheckpointError, match="seed 4"):
        network(TTv2(), seed=5).load_state_dict(state)
    with pytest.raises(CheckpointError, match="same name, algorithm and chip size"):
        network(AnalogSGD()).load_state_dict(state)
    with pytest.raises(CheckpointError, match="TikiTaka needs"):
        network(TikiTaka()).load_state_dict(state)
    state["0._extra_state"]["version"] = 99
    with pytest.raises(CheckpointError, match="version 99"):
        model.load_state_dict(state)
