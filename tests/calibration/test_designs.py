import math

import pytest
import torch

from rpudriver.backends.registry import make
from rpudriver.calibration.designs import DESIGNS, Design, OneHot, Orthogonal, Uniform
from rpudriver.calibration.levels import InputLevels


@pytest.mark.parametrize("lines", [1, 2, 5, 16, 33])
@pytest.mark.parametrize("kind", [Orthogonal, OneHot])
def test_whole_periods_are_orthogonal_with_the_constant(kind: type[Design], lines: int) -> None:
    design = kind(lines, seed=3)
    periods = 3
    x = design.levels(torch.arange(periods * design.period), 63)
    extended = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    energy = torch.full((lines + 1,), len(x) * design.energy(63), dtype=torch.float64)
    energy[-1] = len(x)
    assert torch.equal(extended.t() @ extended, torch.diag(energy))
    assert design.period >= 2 * lines


@pytest.mark.parametrize("name", DESIGNS)
def test_a_vector_follows_from_its_number_alone(name: str) -> None:
    design = DESIGNS[name](7, seed=3)
    numbers = torch.tensor([5, 200, 41])
    whole = design.levels(torch.arange(300), 63)
    assert torch.equal(DESIGNS[name](7, seed=3).levels(numbers, 63), whole[numbers])
    assert torch.equal(whole, whole.round())
    assert float(whole.abs().max()) == 63
    if name != "one-hot":
        assert not torch.equal(DESIGNS[name](7, seed=4).levels(numbers, 63), whole[numbers])


def test_uniform_inputs_are_uniform() -> None:
    x = Uniform(50, seed=1).levels(torch.arange(2000), 3)
    shares = torch.histc(x, 7, min=-3.5, max=3.5) / x.numel()
    # 100 000 draws: a share of 1/7 is good to 0.0011; five of these
    assert float((shares - 1 / 7).abs().max()) < 0.0055
    assert math.isclose(float(x.square().mean()), Uniform(50, 1).energy(3), rel_tol=0.02)


def test_periods_differ_and_rows_are_in_no_order() -> None:
    design = Orthogonal(8, seed=1)
    first, second = design.levels(torch.arange(2 * design.period), 1).chunk(2)
    assert not torch.equal(first, second)
    # in Sylvester's order neighbours correlate by columns; here a column's runs are those of chance
    flips = (first[1:] != first[:-1]).double().mean()
    assert 0.3 < float(flips) < 0.7  # 248 of them: standard deviation 0.03


def test_levels_are_those_of_the_converter_within_what_is_armed() -> None:
    from rpudriver.backends.validation import Limits

    chip = make("simulated", preset="idealised")
    chip.arm()
    assert InputLevels.of(chip) == InputLevels(1 / 63, 63)
    chip.arm(Limits(max_input=0.5))
    assert InputLevels.of(chip).most == 31
    assert InputLevels(1 / 63, 5).choice() == [1, 2, 3, 4, 5]
    assert len(InputLevels(1 / 2**15, 2**15).choice()) == 64
