"""Steps from a measured table: linear interpolation between its rows, the ends continued.

The rows need not be evenly spaced. A grid of buckets tells near which row a weight lies; from there at most `reach`
rows are passed. Loads from places of each lane's own are slow, and most pulses leave a device between the rows where it
was: the dense kernel keeps what a look-up found, lane by lane, until a lane leaves.
"""

import numpy as np
import numpy.typing as npt

from rpudriver.backends.simulated.devices.measured import Measured
from rpudriver.backends.simulated.kernels.scratch import (
    DOWN_LOW,
    DOWN_RISE,
    LOW,
    SINCE,
    SPAN,
    SPREAD_LOW,
    SPREAD_RISE,
    UNTIL,
    UP_LOW,
    UP_RISE,
    WEIGHT,
)
from rpudriver.keyed.intrinsics import choose, load_float, load_word, shift_left, store_float
from rpudriver.keyed.native import inline

F, S, U = np.float32, np.int32, np.uint32
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


def addressed(table: Table) -> tuple[int | float, ...]:
    """Return a table as kernels take it, for as long as its arrays live: their addresses, and how many rows it has."""
    columns, buckets, reach, origin, per_unit = table
    return columns.ctypes.data, buckets.ctypes.data, len(columns) // 4, int(reach), float(origin), float(per_unit)


@inline
def _row(w, table):  # type: ignore[no-untyped-def]
    """Return the last row at or below a weight, but neither the last of all nor less than the first."""
    columns, buckets, rows, reach, origin, per_unit = table
    place = F(F(w - origin) * per_unit)
    # lanes beyond the end of a row may hold anything: what is not above 0, nan too, goes to the first bucket
    row = S(load_word(buckets, S(min(place if place > F(0) else F(0), F(BUCKETS - 1)))))
    for _ in range(reach):
        following = min(S(row + S(1)), S(rows - S(2)))
        row = following if w >= load_float(columns, following) else row
    return row


@inline
def _share(w, low, span):  # type: ignore[no-untyped-def]
    return min(max(F(F(w - low) / span), F(0)), F(1))


@inline
def _interpolated(low, rise, share):  # type: ignore[no-untyped-def]
    return F(low + F(share * rise))


@inline
def _rise(columns, at):  # type: ignore[no-untyped-def]
    return F(load_float(columns, at + 1) - load_float(columns, at))


@inline
def look_up(w, up, table):  # type: ignore[no-untyped-def]
    """Return step and spread at one weight, in units of dw_min."""
    columns, _, rows, _, _, _ = table
    row = _row(w, table)
    share = _share(w, load_float(columns, row), _rise(columns, row))
    step, spread = (rows if up else 2 * rows) + row, 3 * rows + row
    return (
        _interpolated(load_float(columns, step), _rise(columns, step), share),
        _interpolated(load_float(columns, spread), _rise(columns, spread), share),
    )


@inline
def look_up_lane(found, lane, table):  # type: ignore[no-untyped-def]
    """Write what the table says at a lane's weight into the scratch at the address `found`.

    That is the weights since and until which a device stays between two rows; the lower one's, and their distance; the
    steps up and down and the spread there, and how much they rise from it to the upper row.
    """
    columns, _, rows, _, _, _ = table
    row = _row(load_float(found, WEIGHT + lane), table)
    low, high = load_float(columns, row), load_float(columns, row + 1)
    store_float(found, SINCE + lane, F(-np.inf) if row == 0 else low)
    store_float(found, UNTIL + lane, F(np.inf) if row == rows - 2 else high)
    store_float(found, LOW + lane, low)
    store_float(found, SPAN + lane, F(high - low))
    store_float(found, UP_LOW + lane, load_float(columns, row + rows))
    store_float(found, UP_RISE + lane, _rise(columns, row + rows))
    store_float(found, DOWN_LOW + lane, load_float(columns, row + 2 * rows))
    store_float(found, DOWN_RISE + lane, _rise(columns, row + 2 * rows))
    store_float(found, SPREAD_LOW + lane, load_float(columns, row + 3 * rows))
    store_float(found, SPREAD_RISE + lane, _rise(columns, row + 3 * rows))


@inline
def found_lane(found, lane, w, up):  # type: ignore[no-untyped-def]
    """Return step and spread of a lane that was looked up, in units of dw_min."""
    share = _share(w, load_float(found, LOW + lane), load_float(found, SPAN + lane))
    low = choose(up, load_float(found, UP_LOW + lane), load_float(found, DOWN_LOW + lane))
    rise = choose(up, load_float(found, UP_RISE + lane), load_float(found, DOWN_RISE + lane))
    spread = _interpolated(load_float(found, SPREAD_LOW + lane), load_float(found, SPREAD_RISE + lane), share)
    return _interpolated(low, rise, share), spread


@inline
def has_left(found, lane, w):  # type: ignore[no-untyped-def]
    """Note a lane's weight; return a bit in its place if what was found is not true there."""
    store_float(found, WEIGHT + lane, w)
    # `or` would be a branch
    outside = U(w < load_float(found, SINCE + lane)) | U(w >= load_float(found, UNTIL + lane))
    return shift_left(U(outside), U(lane))
