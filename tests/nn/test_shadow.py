"""Layers that pass gradients on with a digital copy of their weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rpudriver.algorithms.base import Algorithm
from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.simulated.backend import SimulatedBackend
from rpudriver.calibration.zero_shift_alternating import AlternatingZeroShift
from rpudriver.errors import CalibrationError, ConfigError, UnsupportedError
from rpudriver.nn import AnalogLinear, convert
from rpudriver.nn.passes import product
from rpudriver.nn.shadow import Shadow
from rpudriver.types import Port
from tests.nn.chips import exact_chip, noisy_chip, set_true_weights, sgd_layer, train, true_weights

ALGORITHMS = [AnalogSGD(), TikiTaka(gamma=0.3), TTv2(n_s=3, hysteresis=0.2), TTv2(reference="digital")]
SMALL = {"rows": 4, "columns": 4, "arrays": 128, "transposed_reads": False}


def shadow_of(layer: torch.nn.Module) -> Shadow:
    assert isinstance(layer, AnalogLinear)
    assert layer.grid.shadow is not None
    return layer.grid.shadow


def copy_of(layer: torch.nn.Module) -> torch.Tensor:
    matrix = shadow_of(layer).matrix
    assert matrix is not None
    return matrix.clone()


def network(chip: CrossbarBackend, algorithm: Algorithm[Any], **options: Any) -> torch.nn.Sequential:
    shift = AlternatingZeroShift(pulses=20, reads=2, verify=0)  # a short one
    return torch.nn.Sequential(
        AnalogLinear(5, 4, chip, algorithm, name="a", zero_shift=shift, learnable_scale=True, **options),
        torch.nn.Tanh(),
        AnalogLinear(4, 6, chip, algorithm, name="b", zero_shift=shift, columnwise=True, **options),
        torch.nn.Tanh(),
        AnalogLinear(6, 3, chip, algorithm, name="c", zero_shift=shift, bias="digital", **options),
    )


def in_order(d: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return ``d @ matrix``, the lines added one after another."""
    total = torch.zeros(len(d), matrix.shape[1])
    for line in range(d.shape[1]):
        total = total + d[:, line : line + 1] * matrix[line]
    return total


@pytest.mark.parametrize("shape", [(3, 1, 4), (5, 37, 65), (0, 4, 2), (8, 128, 257)])
def test_products_are_added_up_in_the_order_of_lines(shape: tuple[int, int, int]) -> None:
    draw = torch.Generator().manual_seed(3)
    d, matrix = torch.randn(shape[0], shape[1], generator=draw), torch.randn(*shape[1:], generator=draw)
    assert torch.equal(product(d, matrix), in_order(d, matrix))
    turned = torch.randn(shape[1], shape[0], generator=draw).t()
    assert torch.equal(product(turned, matrix), in_order(turned, matrix))


@pytest.mark.parametrize("columnwise", [False, True])
@pytest.mark.parametrize("bias", ["analog", "digital", "none"])
def test_the_gradient_at_the_inputs_is_that_of_the_copy(bias: Any, columnwise: bool) -> None:
    """On a noisy chip without transposed reads, in tiles, with every scale: exactly."""
    layer = sgd_layer(
        9, 6, noisy_chip(chip=SMALL), bias=bias, columnwise=columnwise, learnable_scale=True, backward="shadow"
    )
    assert len(layer.grid.tiles) > 3
    assert layer.out_scale is not None
    with torch.no_grad():
        layer.out_scale.fill_(0.7)
    x = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (found,) = torch.autograd.grad(layer(x), x, torch.cos(torch.arange(30.0)).view(5, 6))
    sent = torch.cos(torch.arange(30.0)).view(5, 6) * layer.out_scale.detach() * layer.scale
    assert torch.equal(found, in_order(sent, copy_of(layer))[:, :9])
    # and the copy is the chip's matrix: 16 vectors (of 8 where a tile has 4 columns or less), noise 0.06, rounding
    off = copy_of(layer) * layer.scale[:, None] - true_weights(layer)
    assert (off / layer.scale[:, None]).square().mean().sqrt() < 1.3 * 0.06 / math.sqrt(8)


def test_a_sum_of_arrays_is_copied_as_the_forward_pass_reads_it() -> None:
    for summed in (True, False):
        chip = exact_chip(transposed_reads=False, summed_reads=summed)
        layer = AnalogLinear(3, 2, chip, TikiTaka(gamma=0.5), name="fc", zero_shift=False, backward="shadow")
        arrays = layer.grid.tiles[0].state.arrays
        for role, value in (("A", 0.3), ("C", -0.2)):
            oracle(chip).set_true_state(arrays[role], Port.DEVICE, torch.full((2, 4), value))
        before = chip.status().cost["reads"]
        x = torch.ones(1, 3).requires_grad_()
        layer(x).sum().backward()
        assert torch.allclose(copy_of(layer), torch.full((2, 4), 0.5 * 0.3 - 0.2), atol=1e-6)
        # one forward vector and eight for the copy, of both arrays each where the chip cannot sum
        assert chip.status().cost["reads"] - before == 9 * (1 if summed else 2)
        assert shadow_of(layer).cost["reads"] == 8 * (1 if summed else 2)


@pytest.mark.parametrize("every", [1, 3])
def test_the_copy_is_read_before_the_first_mini_batch_and_then_after_as_many_as_wanted(every: int) -> None:
    chip = noisy_chip(chip=SMALL)
    model = network(chip, AnalogSGD(), backward="shadow", shadow_every=every)
    copies = []
    for batch in range(7):
        train(model, batch, batch + 1)
        copies.append(copy_of(model[4]))
    assert shadow_of(model[0]).matrix is None  # its inputs need no gradient
    assert shadow_of(model[0]).cost["extractions"] == 0
    for batch in range(1, 7):
        assert torch.equal(copies[batch], copies[batch - 1]) == (batch % every != 0)
    assert shadow_of(model[2]).cost["extractions"] == len(range(0, 7, every))


def test_neither_tests_nor_gradients_without_an_update_age_the_copy() -> None:
    layer = sgd_layer(3, 2, noisy_chip(chip=SMALL), backward="shadow", shadow_every=1)
    x = torch.ones(1, 3).requires_grad_()
    for _ in range(3):
        layer(x).sum().backward()
    layer.forget()
    layer.update(0.1)  # there is nothing to train with
    layer.eval()
    layer(x).sum().backward()
    assert shadow_of(layer).cost["extractions"] == 1


def test_other_weights_get_another_copy() -> None:
    layer = sgd_layer(3, 2, exact_chip(), bias="none", backward="shadow", shadow_every=1000)
    x = torch.ones(1, 3).requires_grad_()
    for weights in (torch.full((2, 3), 0.4), torch.eye(2, 3)):
        layer.write_weights(weights)
        x.grad = None
        layer(x).sum().backward()
        assert x.grad is not None
        assert torch.allclose(x.grad, weights.sum(0), atol=1e-3)


def test_what_the_copy_costs_is_counted_in_the_chips_meter_and_by_itself() -> None:
    read = {"read_time_s": 0.5, "read_energy_j": 0.25}
    costs = []
    for backward in ("transposed", "shadow"):
        chip = exact_chip(rows=4, columns=4, arrays=64, **read)
        layer = sgd_layer(6, 5, chip, bias="none", backward=backward)
        before = chip.status().cost
        layer(torch.ones(3, 6).requires_grad_()).sum().backward()
        costs.append({key: value - before[key] for key, value in chip.status().cost.items()})
    # 2 x 2 tiles of 2 or 3 rows and 3 columns: three vectors forward; backward three, or 2 * 4 for each copy
    assert costs[0]["reads"] == 4 * 3 + 4 * 3
    assert costs[1]["reads"] == 4 * 3 + 4 * 8
    found = shadow_of(layer).cost
    assert (found["extractions"], found["reads"]) == (1, 32)
    exactly = {"rel": 1e-12}  # a difference of large sums
    assert found["chip_time_s"] == pytest.approx(0.5 * 32, **exactly)
    assert found["energy_j"] == pytest.approx(0.25 * 2 * 8 * 5, **exactly)  # of an output line: five, twice
    assert costs[1]["chip_time_s"] == pytest.approx(0.5 * 12 + found["chip_time_s"], **exactly)
    assert costs[1]["energy_j"] == pytest.approx(0.25 * 2 * 3 * 5 + found["energy_j"], **exactly)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_without_noise_a_fresh_copy_trains_like_transposed_reads(algorithm: Algorithm[Any]) -> None:
    """Gradients differ by rounding, 1e-6 of them; a pulse differs where a draw falls between: hardly ever one."""
    weights, losses, copies = [], [], []
    for backward in ("transposed", "shadow"):
        chip = exact_chip(dw_min=1e-3, rows=4, columns=4, arrays=128)
        model = network(chip, algorithm, backward=backward, **({} if backward == "transposed" else {"shadow_every": 1}))
        start = true_weights(model[0])
        losses.append(train(model, 0, 20))
        weights.append([true_weights(model[k]) for k in (0, 2, 4)])
        copies.append(model[4].grid.shadow)
    assert copies[0] is None
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for first, second in zip(*weights, strict=True):
        assert (first - second).abs().mean() < 5e-5  # less than a pulse, 1e-3 chip units, of one weight in twenty
    assert (weights[0][0] - start).abs().mean() > 5e-3


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_training_goes_on_identically_on_a_fresh_chip(algorithm: Algorithm[Any], tmp_path: Path) -> None:
    options = {"backward": "shadow", "shadow_every": 3}
    model = network(noisy_chip(chip=SMALL), algorithm, **options)
    train(model, 0, 5)  # in the middle of a copy's life
    torch.save(model.state_dict(), tmp_path / "model.pt")
    expected = train(model, 5, 12)
    fresh = network(noisy_chip(chip=SMALL), algorithm, **options)
    train(fresh, 20, 22)
    fresh.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    assert train(fresh, 5, 12) == expected
    for ours, theirs in zip(model[2::2], fresh[2::2], strict=True):
        assert torch.equal(copy_of(ours), copy_of(theirs))
        assert shadow_of(ours).cost == shadow_of(theirs).cost


def test_a_state_without_a_copy_has_it_read_anew() -> None:
    chip = {key: value for key, value in SMALL.items() if key != "transposed_reads"}
    plain = network(noisy_chip(chip=chip), AnalogSGD())
    train(plain, 0, 2)
    model = network(noisy_chip(chip=chip), AnalogSGD(), backward="shadow", shadow_every=100)
    train(model, 5, 7)
    stale = copy_of(model[4])
    model.load_state_dict(plain.state_dict())
    train(model, 2, 3)
    assert not torch.equal(copy_of(model[4]), stale)
    assert shadow_of(model[4]).cost["extractions"] == 2
    plain.load_state_dict(model.state_dict())  # and the other way round


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_mini_batches_in_one_call_and_in_steps_are_the_same(
    algorithm: Algorithm[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(SimulatedBackend, "_update", CrossbarBackend._update)
            monkeypatch.setattr(SimulatedBackend, "_normalised", CrossbarBackend._normalised)
        chip = noisy_chip(chip=SMALL)
        model = network(chip, algorithm, backward="shadow", shadow_every=2)
        found.append((train(model, 0, 6), copy_of(model[4]).tolist(), chip.status().cost))
    assert found[0] == found[1]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            layer = sgd_layer(300, 120, noisy_chip(), bias="none", backward="shadow")
            x = torch.ones(40, 300).requires_grad_()
            layer(x).square().sum().backward()
            found.append((copy_of(layer), x.grad))
        finally:
            torch.set_num_threads(1)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_outputs_beyond_the_converter_are_read_with_smaller_inputs_or_pass_nothing_on() -> None:
    chip = exact_chip(output_bound=4.0, output_bits=0)  # 64 weights of 0.4 are 25 at full input
    layer = sgd_layer(64, 2, chip, bias="none", backward="shadow")
    weights = torch.full((2, 64), 0.4) * layer.scale
    set_true_weights(layer, weights)
    x = torch.ones(1, 64).requires_grad_()
    layer(x).sum().backward()
    assert torch.allclose(copy_of(layer), torch.full((2, 64), 0.4), atol=1e-5)
    assert shadow_of(layer).cost["reads"] > 2 * 64  # some twice
    stuck = exact_chip(output_bound=1e-3)
    layer = sgd_layer(64, 2, stuck, bias="none", backward="shadow", initial=(torch.eye(2, 64), None))
    x = torch.ones(1, 64).requires_grad_()
    layer(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 64))


def test_each_copy_is_read_with_signs_of_its_own_so_that_rounding_averages_out() -> None:
    layer = sgd_layer(20, 5, exact_chip(output_bits=6, output_bound=4.0), bias="none", backward="shadow")
    x, copies = torch.ones(1, 20).requires_grad_(), []
    for _ in range(25):
        shadow_of(layer).drop()
        layer(x).sum().backward()
        copies.append(copy_of(layer))
    off = torch.stack(copies) - true_weights(layer) / layer.scale
    # independent errors fall to a fifth, which 100 weights tell to 7 %; the same signs would leave them as they are
    assert off.mean(0).square().mean().sqrt() < 0.3 * off.square().mean().sqrt()


def test_a_chip_that_returns_no_numbers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = sgd_layer(3, 2, exact_chip(), backward="shadow")
    y = layer(torch.ones(1, 3).requires_grad_())
    execute = SimulatedBackend._execute

    def broken(chip: SimulatedBackend, steps: Any) -> Any:
        results = execute(chip, steps)
        results[0].values[0, 1] = math.nan
        return results

    monkeypatch.setattr(SimulatedBackend, "_execute", broken)
    with pytest.raises(CalibrationError, match=r"reads of array 'fc/0.0/C': the chip returned nan at \[0, 1\]"):
        y.sum().backward()


def test_what_cannot_work_is_refused_before_anything_is_sent() -> None:
    chip = exact_chip(transposed_reads=False)
    with pytest.raises(UnsupportedError, match="train with backward = 'shadow', a digital copy"):
        sgd_layer(3, 2, chip)
    with pytest.raises(UnsupportedError, match="train with backward = 'shadow'"):
        convert(torch.nn.Sequential(torch.nn.Linear(3, 2)), chip, AnalogSGD())
    for options, message in (
        ({"backward": "digital"}, "'digital' must be 'transposed' or 'shadow'"),
        ({"backward": "shadow", "shadow_every": 0}, "shadow_every = 0 with backward = 'shadow': it must be at least 1"),
        ({"shadow_every": 5}, "shadow_every = 5 with backward = 'transposed': .* leave it out otherwise"),
    ):
        with pytest.raises(ConfigError, match=message):
            sgd_layer(3, 2, chip, **options)
    assert not chip.status().arrays
    model = convert(torch.nn.Sequential(torch.nn.Linear(3, 2)), chip, AnalogSGD(), backward="shadow")
    assert shadow_of(model[0]).every == 10
