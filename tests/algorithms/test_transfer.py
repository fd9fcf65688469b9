"""Where transfers fall: after every n_s-th update, whatever the batches, column after column."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rpudriver.algorithms.transfer import gradient_sequence, schedule
from rpudriver.backends.registry import make
from rpudriver.trains import TrainSource, draw_trains
from rpudriver.types import Pulse


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7), st.integers(1, 5))
def test_transfers_depend_on_the_count_of_updates_not_on_the_batches(batches: list[int], n_s: int, n_in: int) -> None:
    found, updates = [], 0
    for batch in batches:
        transfers = schedule(updates, batch, n_s, n_in)
        assert all(0 < transfer.after <= batch for transfer in transfers)
        found += [(updates + transfer.after, transfer.column) for transfer in transfers]
        updates += batch
    assert found == [(k * n_s, (k - 1) % n_in) for k in range(1, updates // n_s + 1)]


@given(st.integers(0, 9), st.integers(0, 8), st.integers(1, 4))
def test_a_sequence_holds_every_sample_once_and_every_read_in_its_place(updates: int, batch: int, n_s: int) -> None:
    array = make("null", preset="idealised").allocate("A", 2, 3)
    x, d = torch.ones(batch, 3), torch.ones(batch, 2)
    trains = draw_trains(x, d, lr=0.005, dw_min=0.001, max_bl=31, source=TrainSource(0, "t"), first=updates)
    transfers = schedule(updates, batch, n_s, 3)
    samples, reads, words = 0, [], [torch.zeros(0, 3, 1)]
    for step in gradient_sequence(array, trains, transfers):
        if isinstance(step, Pulse):
            assert len(step.trains)
            samples += len(step.trains)
            words.append(step.trains.x_words.view(torch.int32).float())
        else:
            assert torch.equal(step.x, torch.eye(3)[step.x.argmax()][None])
            reads.append((samples, int(step.x.argmax())))
    assert samples == batch
    assert reads == [(transfer.after, transfer.column) for transfer in transfers]
    assert torch.equal(torch.cat(words), trains.x_words.view(torch.int32).float())
