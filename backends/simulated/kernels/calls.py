"""How kernels are called: what they take of a bank, and how other compiled code calls them, by their addresses.

So it is compiled once, not once for every kernel, and a kernel is compiled only when it is first needed.
"""

from typing import Any

import numpy as np
from numba import typeof

from rpudriver.backends.simulated.kernels.lookup import addressed, table_of
from rpudriver.backends.simulated.kernels.pieces import Rows
from rpudriver.keyed.intrinsics import caller_of
from rpudriver.keyed.native import inline

F, S, U, U64 = np.float32, np.int32, np.uint32, np.uint64
_places, _words, _numbers = np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.int32)
_noted, _fires = np.empty((0, 0), np.float32), np.empty((0, 0), np.bool_)
_chip = (0,) * 5  # addresses of state and parameters, number of cells
_range_and_bank = (0, 0, _chip, addressed(table_of(None, 1.0)), 0)
_rows, _scalars = Rows(_numbers, _numbers, _words, _numbers), ((0,) * 4, (0.0,) * 4)  # keys; strength and noise
# what a kernel takes, as Numba's types
DENSE = tuple(map(typeof, (*_range_and_bank, _rows, _words, _fires, 1, *[_places] * 3, _noted, _scalars)))
SPARSE = tuple(map(typeof, (*_range_and_bank, _rows, _numbers, _words, 1, _places, _noted, _scalars)))
call_dense, call_sparse = caller_of(DENSE), caller_of(SPARSE)


def kernel_address(kernel: Any, kinds: tuple[Any, ...]) -> int:
    """Return where a kernel lies, 0 as long as it is not compiled."""
    found = kernel.overloads.get(kinds) if kernel.overloads else None  # to look it up takes microseconds
    return 0 if found is None else int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))


@inline
def as_words(chip, table, scalars):  # type: ignore[no-untyped-def]
    """Return what a kernel takes of a bank as it computes with it.

    It comes as numbers of Python, for Numba takes ten of those in the time of one of numpy's.
    """
    (hidden, pulses, read, rows, cells), (columns, buckets, count, reach, origin, per_unit) = chip, table
    (k0, k1, k2, k3), (strength, c2c, additive, write_noise) = scalars
    return (
        (U64(hidden), U64(pulses), U64(read), U64(rows), cells),
        (U64(columns), U64(buckets), S(count), S(reach), F(origin), F(per_unit)),
        (U(k0), U(k1), U(k2), U(k3), F(strength), F(c2c), F(additive), F(write_noise)),
    )
