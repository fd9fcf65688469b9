"""Steps from a measured table: linear interpolation between its rows, the ends continued.

The rows need not be evenly spaced. A grid of buckets tells near which row a weight lies; from there at most `reach`
rows are passed. So a look-up is a fixed number of loads, which vectorises.
"""

import numpy as np
import numpy.typing as npt

from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.kernels.scratch import LANES, PLACE, SIGNS, SPREAD, Q, W
from rpudriver.keyed.native import inline

F, S = np.float32, np.int32
BUCKETS = 1024

Table = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32], np.int32, np.float32, np.float32]


def table_of(response: object, dw_min: float) -> Table:
    """Return a measured response as kernels take it; a table of no rows for every other family.

    Returns
    -------
    columns : float32 ``[4 * rows]``: w, up, down and spread, the last three in units of `dw_min`.
    buckets : int32, the last row that lies surely below each bucket.
    reach, origin, per_unit : rows to pass at most; weight of the first bucket; buckets in a unit of weight.
    """
    if not isinstance(response, Measured):
        return np.zeros(0, np.float32), np.zeros(1, np.int32), np.int32(0), F(0), F(0)
    grid = np.array(response.w, np.float32)
    spread = response.dw_spread or (0.0,) * len(grid)
    steps = [np.array(column, np.float32) / F(dw_min) for column in (response.dw_up, response.dw_down, spread)]
    per_unit = F(BUCKETS / (grid[-1] - grid[0]))
    # a bucket's edges are widened by one bucket each way, so that rounding cannot put a weight outside
    edges = grid[0] + (np.arange(BUCKETS)[:, None] + np.array([-1.0, 2.0])) / per_unit
    low, high = (np.clip(np.searchsorted(grid, edge, side="right") - 1, 0, len(grid) - 2) for edge in edges.T)
    columns = np.concatenate([grid, *steps]).astype(np.float32)
    return columns, low.astype(np.int32), np.int32((high - low).max()), F(grid[0]), per_unit


@inline
def _bucket(w, buckets, origin, per_unit):  # type: ignore[no-untyped-def]
    place = F(F(w - origin) * per_unit)
    # lanes beyond the end of a row may hold anything: what is not above 0, nan too, goes to the first bucket
    return S(min(place if place > F(0) else F(0), F(BUCKETS - 1)))


@inline
def _interpolated(columns, column, rows, row, share):  # type: ignore[no-untyped-def]
    low, high = columns[column * rows + row], columns[column * rows + row + 1]
    return F(low + F(share * F(high - low)))


@inline
def _share(columns, row, w):  # type: ignore[no-untyped-def]
    low, high = columns[row], columns[row + 1]
    return min(max(F(F(w - low) / F(high - low)), F(0)), F(1))


@inline
def look_up(w, up, table):  # type: ignore[no-untyped-def]
    """Return step and spread at one weight, in units of dw_min."""
    columns, buckets, reach, origin, per_unit = table
    rows = len(columns) // 4
    row = buckets[_bucket(w, buckets, origin, per_unit)]
    for _ in range(reach):
        following = min(S(row + 1), S(rows - 2))
        row = following if w >= columns[following] else row
    share = _share(columns, row, w)
    return _interpolated(columns, 1 if up else 2, rows, row, share), _interpolated(columns, 3, rows, row, share)


@inline
def look_up_lanes(f, u, table):  # type: ignore[no-untyped-def]
    """Write step and spread of every lane into the scratch, in units of dw_min."""
    columns, buckets, reach, origin, per_unit = table
    rows = S(len(columns) // 4)
    for lane in range(LANES):
        u[PLACE + lane] = np.uint32(buckets[_bucket(f[W + lane], buckets, origin, per_unit)])
    for _ in range(reach):
        for lane in range(LANES):
            row = S(u[PLACE + lane])
            following = min(S(row + S(1)), S(rows - S(2)))
            u[PLACE + lane] = np.uint32(following if f[W + lane] >= columns[following] else row)
    for lane in range(LANES):
        row = S(u[PLACE + lane])
        share = _share(columns, row, f[W + lane])
        column = S(1) if S(u[SIGNS + lane]) >= S(0) else S(2)
        f[Q + lane] = _interpolated(columns, column, rows, row, share)
        f[SPREAD + lane] = _interpolated(columns, S(3), rows, row, share)
