"""Every algorithm against its equations, on a chip without noise and with trains that leave nothing to chance.

Where all |x| and |d| are 1 and the rate is a whole number of steps, every slot of every line fires.
"""

from typing import Any

import pytest
import torch

from rpudriver.algorithms.base import Algorithm
from rpudriver.algorithms.sgd import AnalogSGD
from rpudriver.algorithms.tiki_taka import TikiTaka
from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.base import CrossbarBackend
from rpudriver.backends.oracle import oracle
from rpudriver.backends.registry import make
from rpudriver.backends.validation import Limits
from rpudriver.trains import TrainSource
from rpudriver.types import Array, Pulse, Scan

STEP = 2.0**-10  # of a pulse: exact in float32
N_OUT, N_IN = 2, 3
BATCHES = (5, 1, 8, 4)


@pytest.fixture(params=["simulated", "reference"])
def chip(request: pytest.FixtureRequest) -> CrossbarBackend:
    exact = {"input_bits": 0, "output_bits": 0, "output_bound": 0}
    backend = make(request.param, preset="idealised", device={"dw_min": STEP}, chip=exact)
    backend.arm()
    return backend


def signs(n: int, lines: int, seed: int) -> torch.Tensor:
    return torch.randint(2, (n, lines), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


def train(
    chip: CrossbarBackend, algorithm: Algorithm[Any], lr: float, n_out: int = N_OUT
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return the last state and the (x, d) of all samples, which came in several batches."""
    state = algorithm.init(chip, "tile", n_out, N_IN, seed=0)
    pairs = []
    for number, batch in enumerate(BATCHES):
        x, d = signs(batch, N_IN, number), signs(batch, n_out, 100 + number)
        state = algorithm.step(chip, state, x, d, lr)
        pairs += list(zip(x, d, strict=True))
    assert state.samples == len(pairs) == sum(BATCHES)
    return state, pairs


def weights(chip: CrossbarBackend, array: Array) -> torch.Tensor:
    return oracle(chip).true_weights(array)


def columns_of_a(pairs: list[tuple[Any, Any]], fast_lr: float, n_s: int) -> tuple[list[tuple[int, Any]], Any]:
    """Return the columns (number, values) that are read of A, in order, and A at the end."""
    a, read = torch.zeros(len(pairs[0][1]), N_IN), []
    for number, (x, d) in enumerate(pairs, start=1):
        a = a + fast_lr * torch.outer(d, x)
        if number % n_s == 0:
            column = (number // n_s - 1) % N_IN
            read.append((column, a[:, column].clone()))
    return read, a


def test_sgd_adds_the_outer_products(chip: CrossbarBackend) -> None:
    state, pairs = train(chip, AnalogSGD(), 3 * STEP)
    expected = sum(3 * STEP * torch.outer(d, x) for x, d in pairs)
    assert expected.abs().max() > 10 * STEP
    torch.testing.assert_close(weights(chip, state.arrays["C"]), expected)
    assert algorithm_terms(AnalogSGD(), state) == [("C", 1.0)]


def algorithm_terms(algorithm: Algorithm[Any], state: Any) -> list[tuple[str, float]]:
    return [(array.name.rpartition("/")[2], weight) for array, weight in algorithm.terms(state)]


@pytest.mark.parametrize("hysteresis", [0.0, 0.25])
@pytest.mark.parametrize("n_s", [1, 2, 7])
def test_ttv2_keeps_its_equations_from_batch_to_batch(chip: CrossbarBackend, n_s: int, hysteresis: float) -> None:
    fast, lam, lr = 4 * STEP, 0.5, 0.4
    algorithm = TTv2(fast_lr=fast, transfer_lr=lam, n_s=n_s, hysteresis=hysteresis)
    state, pairs = train(chip, algorithm, lr)
    h, c = torch.zeros(N_OUT, N_IN), torch.zeros(N_OUT, N_IN)
    read, a = columns_of_a(pairs, fast, n_s)
    for t, v in read:
        h[:, t] += lr * lam * v / STEP
        fired = h[:, t].sign() * (h[:, t].abs() >= 1)
        c[:, t] += STEP * fired
        h[:, t] -= (1 - hysteresis) * fired
    assert n_s == 7 or (c.abs() > STEP).any()
    torch.testing.assert_close(weights(chip, state.arrays["A"]), a)
    torch.testing.assert_close(weights(chip, state.arrays["C"]), c)
    torch.testing.assert_close(state.buffer, h.t())
    assert algorithm_terms(algorithm, state) == [("C", 1.0)]


def test_ttv2_fires_one_pulse_at_a_time_and_keeps_the_rest(chip: CrossbarBackend) -> None:
    algorithm = TTv2(fast_lr=3 * STEP, transfer_lr=1.0, hysteresis=0.25)
    state = algorithm.init(chip, "tile", 1, 1, seed=0)
    one = torch.ones(1, 1)
    state = algorithm.step(chip, state, one, one, lr=0.9)  # A holds 3 steps, H gets 2.7 pulses and fires one
    torch.testing.assert_close(weights(chip, state.arrays["C"]), one * STEP)
    torch.testing.assert_close(state.buffer, one * (2.7 - 0.75))
    torch.testing.assert_close(
        algorithm.step(chip, state, one, -one, lr=0.9).buffer, one * (1.95 - 0.75)
    )  # A is back at 0, the rest fires on


@pytest.mark.parametrize("n_s", [1, 3])
def test_tiki_taka_keeps_its_equations_from_batch_to_batch(chip: CrossbarBackend, n_s: int) -> None:
    """With one row, whose v is the largest, every slot of a transfer fires too."""
    fast, lam, lr = 4 * STEP, 0.5, 0.499999  # a transfer is a whole number of steps, just below, or BL would round up
    algorithm = TikiTaka(fast_lr=fast, transfer_lr=lam, n_s=n_s, gamma=0.3)
    state, pairs = train(chip, algorithm, lr, n_out=1)
    read, a = columns_of_a(pairs, fast, n_s)
    c = torch.zeros(1, N_IN)
    for t, v in read:
        c[:, t] += lr * lam * v
    assert (c.abs() > STEP).any()
    torch.testing.assert_close(weights(chip, state.arrays["A"]), a)
    torch.testing.assert_close(weights(chip, state.arrays["C"]), c, atol=0.01 * STEP, rtol=0)
    assert algorithm_terms(algorithm, state) == [("A", 0.3), ("C", 1.0)]
    assert algorithm_terms(algorithm.model_copy(update={"gamma": 0.0}), state) == [("C", 1.0)]


@pytest.mark.parametrize("algorithm", [TikiTaka(fast_lr=4 * STEP, n_s=2), TTv2(fast_lr=4 * STEP, n_s=2)])
def test_a_mini_batch_is_two_steps(algorithm: Algorithm[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with make("null", preset="idealised", device={"dw_min": STEP}) as chip:
        chip.arm()
        state = algorithm.init(chip, "tile", N_OUT, N_IN, seed=0)
        execute, sent = chip._execute, []

        def spy(steps: Any) -> Any:
            sent.append([numbered.step for numbered in steps])
            return execute(steps)

        monkeypatch.setattr(chip, "_execute", spy)
        state = algorithm.step(chip, state, signs(5, N_IN, 0), signs(5, N_OUT, 1), 0.9)
        algorithm.step(chip, state, signs(3, N_IN, 2), signs(3, N_OUT, 3), 0.9)
    assert [[type(step) for step in steps] for steps in sent] == [[Scan], [Pulse], [Scan], [Pulse]]
    first, second = sent[0][0], sent[2][0]
    assert (first.after.tolist(), first.columns.tolist()) == ([2, 4], [0, 1])
    assert (second.after.tolist(), second.columns.tolist()) == ([1, 3], [2, 0])  # completes the pair begun before
    assert [len(sent[0][0].trains), len(sent[1][0].trains), len(sent[2][0].trains)] == [5, 2, 3]


@pytest.mark.parametrize("algorithm", [TikiTaka(fast_lr=4 * STEP, n_s=2), TTv2(fast_lr=4 * STEP, n_s=2)])
def test_transfers_do_not_depend_on_the_input_that_the_chip_allows(
    chip: CrossbarBackend, algorithm: Algorithm[Any]
) -> None:
    expected, _ = train(chip, algorithm, 0.499999, n_out=1)
    exact = {"input_bits": 0, "output_bits": 0, "output_bound": 0}
    for bound, limits in ((0.5, None), (1.0, Limits(max_input=0.25))):
        other = make("simulated", preset="idealised", device={"dw_min": STEP}, chip=exact | {"input_bound": bound})
        other.arm(limits)
        state, _ = train(other, algorithm, 0.499999, n_out=1)
        for role in ("A", "C"):
            torch.testing.assert_close(weights(other, state.arrays[role]), weights(chip, expected.arrays[role]))


def test_trains_are_no_longer_than_is_armed() -> None:
    with make("null", preset="idealised") as chip:
        chip.arm(Limits(max_bl=5))
        array = chip.allocate("A", 2, 2)
        update = AnalogSGD().update(chip, array, TrainSource(0, "t"), 0, torch.ones(1, 2), torch.ones(1, 2), lr=1.0)
        assert update.draw().bl.tolist() == [5]


def test_every_transfer_of_tiki_taka_draws_under_its_own_number() -> None:
    numbers: list[int] = []

    class Spy(TikiTaka):
        def update(self, *given: Any) -> Any:
            update = super().update(*given)
            if update.source.stream.endswith("/transfer"):
                numbers.extend(range(update.first, update.first + len(update.x)))
            return update

    with make("null", preset="idealised") as chip:
        chip.arm()
        train(chip, Spy(n_s=2), 0.1)
    assert numbers == list(range(sum(BATCHES) // 2))
