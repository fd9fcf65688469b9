"""Operations that the compiler must do as they are meant, where no other test would notice."""

import sys

import numba
import numpy as np

from rpudriver.keyed.intrinsics import borrowed


@numba.njit
def _rows_doubled(values):  # type: ignore[no-untyped-def]
    values = borrowed(values)
    for n in range(len(values)):
        row = values[n]
        for k in range(len(row)):
            row[k] *= 2
    return values.shape, values[1:, ::2].sum()


@numba.njit
def _lent(values):  # type: ignore[no-untyped-def]
    return borrowed(values)


def test_a_borrowed_array_is_the_same_memory() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    shape, total = _rows_doubled(values)
    assert shape == (3, 4)
    np.testing.assert_array_equal(values, 2 * np.arange(12).reshape(3, 4))
    assert total == values[1:, ::2].sum()


def test_a_borrowed_array_counts_for_no_owner() -> None:
    values = np.zeros(5, np.float32)
    owners = sys.getrefcount(values)
    lent = _lent(values)
    assert np.shares_memory(lent, values)
    assert lent.base is None
    assert not lent.flags.owndata
    assert sys.getrefcount(values) == owners
