"""Where transfers fall: after every n_s-th update, whatever the batches, column after column."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rpudriver.algorithms.transfer import one_hot, schedule
from rpudriver.algorithms.ttv2 import TTv2State
from rpudriver.trains import TrainSource


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 7), st.integers(1, 5))
def test_transfers_depend_on_the_count_of_updates_not_on_the_batches(batches: list[int], n_s: int, n_in: int) -> None:
    found, updates = [], 0
    for batch in batches:
        transfers = schedule(updates, batch, n_s, n_in)
        after, columns = transfers.after.tolist(), transfers.columns.tolist()
        assert len(after) == len(columns)
        assert all(0 < place <= batch for place in after)
        found += [(updates + place, column) for place, column in zip(after, columns, strict=True)]
        updates += batch
    assert found == [(k * n_s, (k - 1) % n_in) for k in range(1, updates // n_s + 1)]


def test_an_advanced_state_is_a_new_one_of_the_same_kind() -> None:
    source = TrainSource(1, "A/trains")
    state = TTv2State({}, source, 5, buffer=torch.ones(2, 3))
    later = state.advanced(10, buffer=torch.zeros(2, 3))
    assert (type(later), later.samples, later.source, later.points) == (TTv2State, 15, source, None)
    assert (state.samples, state.buffer.sum()) == (5, 6.0)
    assert later.buffer.sum() == 0


def test_inputs_of_transfers_are_one_in_their_column() -> None:
    transfers = schedule(3, 4, 2, 5)  # after updates 4 and 6: columns 1 and 2
    assert torch.equal(one_hot(transfers, 5, torch.device("cpu")), torch.eye(5)[[1, 2]])
