"""Kernels as other compiled code calls them: by their addresses.

So it is compiled once, not once for every kernel, and a kernel is compiled only when it is first needed.
"""

from typing import Any

import numpy as np
from numba import typeof

from rpudriver.backends.simulated.kernels.lookup import addressed, table_of
from rpudriver.backends.simulated.kernels.pieces import Rows
from rpudriver.keyed.intrinsics import caller_of

_places, _words, _numbers = np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.int32)
_noted, _fires = np.empty((0, 0), np.float32), np.empty((0, 0), np.bool_)
_chip = (*[np.uint64(0)] * 4, np.int64(0))  # addresses of state and parameters, number of cells
_range_and_bank = (0, 0, _chip, addressed(table_of(None, 1.0)), 0)
_rows, _scalars = Rows(_numbers, _numbers, _words, _numbers), (*[np.uint32(0)] * 4, *[np.float32(0)] * 4)
# what a kernel takes, as Numba's types
DENSE = tuple(map(typeof, (*_range_and_bank, _rows, _words, _fires, 1, *[_places] * 3, _noted, _scalars)))
SPARSE = tuple(map(typeof, (*_range_and_bank, _rows, _numbers, _words, 1, _places, _noted, _scalars)))
call_dense, call_sparse = caller_of(DENSE), caller_of(SPARSE)


def kernel_address(kernel: Any, kinds: tuple[Any, ...]) -> int:
    """Return where a kernel lies, 0 as long as it is not compiled."""
    found = kernel.overloads.get(kinds)
    return 0 if found is None else int(found.library.get_pointer_to_function(found.fndesc.llvm_func_name))
