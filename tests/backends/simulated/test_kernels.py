"""The dense and the sparse kernel are one update: the same bits, however the work is cut."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rpudriver.backends.simulated import native
from rpudriver.backends.simulated.bank import Bank
from rpudriver.backends.simulated.kernels.families import sparse_kernel
from rpudriver.backends.simulated.native import NONE, Snapshots
from rpudriver.types import PulseTrains
from tests.backends.simulated.kernel_cases import CASES, DIRTY, bank_of, coincidences, force, trains_of

# a tile has 128 columns, a group of lanes 32: whole ones, ragged ends, less than one
SHAPES = [(3, 130), (5, 37), (2, 128), (2, 289), (4, 32), (3, 1), (1, 64)]
EDGES = [0, 31, 32, 127, 128, 129, 288]
DENSITIES = [0.02, 0.2, 0.6, 1.1]


@dataclass(frozen=True)
class Call:
    """One call of the update, told by what its trains are drawn from."""

    lengths: tuple[int, ...]
    densities: tuple[float, float] = (0.5, 0.5)
    seed: int = 1
    repeat: int = 1
    strength: float = 1.0
    flip: bool = False
    noted: tuple[tuple[int, int], ...] = ()  # samples before, column

    def trains(self, shape: tuple[int, int]) -> PulseTrains:
        return trains_of(shape, self.lengths, self.densities, self.seed)

    def apply(self, bank: Bank) -> torch.Tensor:
        after, columns = (np.array([pair[k] for pair in self.noted], np.int64) for k in (0, 1))
        trains, snapshots = self.trains(bank.shape), Snapshots(columns, after)
        return native.apply_trains(bank, trains, self.repeat, self.strength, self.flip, snapshots)


@st.composite
def calls(draw: st.DrawFn, shape: tuple[int, int]) -> Call:
    """Trains shorter and longer than a piece (31 slots) or a word; repeated, or with columns noted on the way."""
    lengths = draw(st.lists(st.sampled_from([0, 1, 7, 30, 31, 32, 33, 62, 63, 64, 65, 100]), max_size=5).map(tuple))
    densities = draw(st.tuples(st.sampled_from(DENSITIES), st.sampled_from(DENSITIES)))
    seed, strength, flip = draw(st.integers(0, 999)), draw(st.sampled_from([1.0, 0.3])), draw(st.booleans())
    if draw(st.booleans()):
        return Call(lengths, densities, seed, draw(st.integers(1, 4)), strength, flip)
    columns = [edge for edge in EDGES if edge < shape[1]]
    pairs = st.tuples(st.integers(0, len(lengths)), st.sampled_from(columns))
    return Call(lengths, densities, seed, 1, strength, flip, tuple(sorted(draw(st.lists(pairs, max_size=6)))))


@st.composite
def works(draw: st.DrawFn) -> tuple[tuple[int, int], bool, list[Call]]:
    """A shape, whether reads differ from hidden weights and some devices are dead, and two calls."""
    shape = draw(st.sampled_from(SHAPES))
    return shape, draw(st.booleans()), [draw(calls(shape)), draw(calls(shape))]


def apply(bank: Bank, trains: PulseTrains, repeat: int = 1, snapshots: Snapshots = NONE) -> torch.Tensor:
    return native.apply_trains(bank, trains, repeat, 1.0, False, snapshots)


def state(bank: Bank) -> list[torch.Tensor]:
    return [bank.hidden, bank.read, bank.pulses]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", CASES)
@settings(max_examples=25, deadline=None)
@given(work=works())
def test_dense_and_sparse_give_the_same_bits(family: str, work: tuple[tuple[int, int], bool, list[Call]]) -> None:
    """And so does compiled code that chooses one of them and calls it by its address, once both are compiled."""
    shape, dirty, both = work
    device = CASES[family] | (DIRTY if dirty else {})
    found = []
    for dense in (True, False, None):
        bank = bank_of(device, shape)
        with pytest.MonkeyPatch.context() as patch:
            if dense is None:
                patch.setattr(native, "apply_cut", pytest.fail)
            else:
                force(patch, dense=dense)
            noted = [call.apply(bank) for call in both]
        found.append([*state(bank), *noted])
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])
    pulses = [call.repeat * coincidences(call.trains(shape)) for call in both]
    assert torch.equal(found[0][2].view(shape).long(), pulses[0] + pulses[1])


@pytest.mark.parametrize("family", ["soft-bounds", "measured"])
def test_sparse_in_vectors_and_one_by_one_give_the_same_bits(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every processor, whichever of the two it uses; slots of 0 to 64 lines, so of whole and partial vectors."""
    force(monkeypatch, dense=False)
    shape = (3, 64)
    finals = []
    for in_vectors in (True, False):
        monkeypatch.setattr(native, "sparse_kernel", partial(sparse_kernel, in_vectors=in_vectors))
        bank = bank_of(CASES[family] | DIRTY, shape)
        for seed, density in enumerate((0.02, 0.06, 0.25, 0.4, 1.1)):
            apply(bank, trains_of(shape, [31, 40, 9], (density, 0.5), seed))
        finals.append(state(bank))
    assert_same(finals[0], finals[1])
    assert finals[0][2].max() > 31


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("family", ["soft-bounds", "measured"])
def test_grouping_of_samples_changes_nothing(family: str, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, dense=dense)
    shape = (4, 130)
    trains = trains_of(shape, [20, 31, 0, 70, 5, 33, 64, 31], (0.5, 0.5), 1)
    finals = []
    for cuts in ([0, 8], [0, 3, 4, 8], list(range(9))):
        bank = bank_of(CASES[family] | DIRTY, shape)
        for first, last in pairwise(cuts):
            apply(bank, trains[first:last])
        finals.append(state(bank))
    assert finals[0][2].max() > 31  # more than a queue holds
    assert_same(finals[1], finals[0])
    assert_same(finals[2], finals[0])


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
@pytest.mark.parametrize("family", ["soft-bounds", "measured"])
def test_threads_change_nothing(family: str, dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are cut into blocks of a few; each block notes its part of the columns."""
    force(monkeypatch, dense=dense, cost=1e8)  # worth any number of threads
    shape = (23, 130)
    trains = trains_of(shape, [20, 31, 40], (0.5, 0.5), 2)
    snapshots = Snapshots(np.array([129, 0, 127]), np.array([1, 2, 3]))
    finals = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        bank = bank_of(CASES[family] | DIRTY, shape)
        noted = [apply(bank, trains, 1, snapshots), apply(bank, trains, 2)]
        finals.append([*state(bank), *noted])
    assert_same(finals[1], finals[0])


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_samples_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 23 samples, 2 are cut at once and 3 such blocks go to threads at once; the last ones are not full."""
    force(monkeypatch, dense=True, cost=1e8)
    shape = (23, 130)
    trains = trains_of(shape, [20, 31, 0, 70, 5] * 4 + [3, 64, 9], (0.4, 0.4), 5)
    whole = bank_of(CASES["soft-bounds"] | DIRTY, shape)
    native.apply_trains(whole, trains, 2, 1.0, True)
    monkeypatch.setattr(native, "SAMPLES_AT_ONCE", 2)
    monkeypatch.setattr(native, "BLOCKS", 3)
    monkeypatch.setattr(native, "CUT", 1e6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    blocks = bank_of(CASES["soft-bounds"] | DIRTY, shape)
    native.apply_trains(blocks, trains, 2, 1.0, True)
    assert_same(state(blocks), state(whole))


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_a_column_is_noted_as_it_is_at_that_moment(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the weights after as many samples applied alone."""
    force(monkeypatch, dense=dense)
    shape = (3, 289)
    trains = trains_of(shape, [31, 40, 12, 64], (0.7, 0.7), 3)
    places = [(place, column) for place in range(5) for column in EDGES]
    snapshots = Snapshots(np.array([c for _, c in places]), np.array([p for p, _ in places]))
    noted = apply(bank_of(CASES["soft-bounds"] | DIRTY, shape), trains, 1, snapshots)
    step_by_step = bank_of(CASES["soft-bounds"] | DIRTY, shape)
    weights = [step_by_step.weights.clone()]
    for sample in range(4):
        apply(step_by_step, trains[sample : sample + 1])
        weights.append(step_by_step.weights.clone())
    expected = torch.stack([weights[place][:, column] for place, column in places])
    assert torch.equal(noted, expected)
    assert len({tuple(row) for row in expected[:: len(EDGES)].tolist()}) == 5  # the first column did move


@pytest.mark.parametrize("dense", [True, False], ids=["dense", "sparse"])
def test_pulse_numbers_pass_the_end_of_a_word(dense: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of pulses is taken modulo 2^32, in the state and in the keys of the noise."""
    force(monkeypatch, dense=dense)
    shape = (2, 40)
    trains = trains_of(shape, [9], (1.1, 1.1), 4)
    wrapped = bank_of(CASES["soft-bounds"], shape)
    wrapped.pulses.fill_(-4)
    apply(wrapped, trains)
    assert (wrapped.pulses == 5).all()
    parts = bank_of(CASES["soft-bounds"], shape)
    for start, length in ((-4, 4), (0, 5)):
        parts.pulses.fill_(start)
        apply(parts, _cut(trains, length))
    assert torch.equal(wrapped.hidden, parts.hidden)


def _cut(trains: PulseTrains, length: int) -> PulseTrains:
    """Return trains whose lines all fire, with fewer slots."""
    full = torch.tensor((1 << length) - 1, dtype=torch.int64).to(torch.uint32)
    x, d = (full.expand(words.shape).contiguous() for words in (trains.x_words, trains.d_words))
    return PulseTrains(x, d, trains.x_negative, trains.d_negative, torch.tensor([length]))
