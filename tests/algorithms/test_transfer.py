"""Where transfers fall: after every n_s-th update, whatever the batches, column after column."""

from hypothesis import given
from hypothesis import strategies as st

from rpudriver.algorithms.transfer import schedule


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
