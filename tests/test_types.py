"""Pulse trains refuse what does not fit together."""

import pytest
import torch

from rpudriver.errors import StepError
from rpudriver.types import Array, Cell, Placement, PulseTrains


def parts() -> dict[str, torch.Tensor]:
    """Three samples of trains for 4 columns and 2 rows, up to 40 slots."""
    return {
        "x_words": torch.zeros(3, 4, 2, dtype=torch.int32).view(torch.uint32),
        "d_words": torch.zeros(3, 2, 2, dtype=torch.int32).view(torch.uint32),
        "x_negative": torch.zeros(3, 4, dtype=torch.bool),
        "d_negative": torch.zeros(3, 2, dtype=torch.bool),
        "bl": torch.tensor([40, 0, 7]),
    }


def test_length_and_slices() -> None:
    trains = PulseTrains(**parts())
    assert len(trains) == 3
    assert trains[1:].bl.tolist() == [0, 7]
    assert trains[1:].x_words.shape == (2, 4, 2)
    assert len(trains[3:]) == 0


def test_arrays_and_tensors_hold_the_same_trains() -> None:
    given = parts() | {"d_negative": torch.tensor([[True, False, True], [False, False, True]]).t()}
    arrays = PulseTrains(**given).arrays
    assert all(array.flags.c_contiguous for array in arrays)
    again = PulseTrains.of_arrays(*arrays)
    assert all(mine is given for mine, given in zip(again.arrays, arrays, strict=True))
    for name, tensor in given.items():
        assert torch.equal(getattr(again, name), tensor), name
    assert again[1:].arrays[-1].tolist() == [0, 7]  # a slice has arrays of its own
    with pytest.raises(ValueError, match="5 arrays; got 4"):
        PulseTrains.of_arrays(*arrays[:4])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x_words", torch.zeros(3, 4, 2), "must be uint32 words"),
        ("d_words", torch.zeros(3, 2, 2, dtype=torch.int32), "torch.int32"),
        ("x_words", torch.zeros(3, 4, dtype=torch.int32).view(torch.uint32), r"\[B, n, W\]"),
        ("d_words", torch.zeros(2, 2, 2, dtype=torch.int32).view(torch.uint32), "same number of samples"),
        ("d_words", torch.zeros(3, 2, 1, dtype=torch.int32).view(torch.uint32), "same number of samples and words"),
        (
            "x_negative",
            torch.zeros(3, 5, dtype=torch.bool),
            r"x_negative must be bool \[3, 4\]; got torch.bool \[3, 5\]",
        ),
        ("d_negative", torch.zeros(3, 2), r"d_negative must be bool \[3, 2\]; got torch.float32"),
        ("bl", torch.tensor([65, 0, 0]), r"\[0, 64\] for 2 words; got 0\.\.65"),
        ("bl", torch.tensor([1, -1, 0]), r"got -1\.\.1"),
        ("bl", torch.tensor([1, 1]), "disagree"),
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_refused(name: str, value: torch.Tensor, message: str) -> None:
    with pytest.raises(StepError, match=message):
        PulseTrains(**(parts() | {name: value}))


def test_the_shape_of_an_array() -> None:
    assert Array("W", 3, 5, Cell.SINGLE, (Placement(0, 0, 0),)).shape == (3, 5)
