"""Where a kernel keeps the devices that it drains: float32 and 32-bit words, `LANES` of each, one after the other.

They lie on the stack: elsewhere they may fall on the same place of a page as what the compiler keeps there, and a
processor, which compares the lower bits of addresses first, then waits.
"""

LANES = 16
W, STEP_UP, STEP_DOWN, W_MAX, W_MIN, SLOPE_UP, SLOPE_DOWN, GAMMA, SCALE = range(0, 9 * LANES, LANES)
SIGNS, LENGTH, SEEN, LINE, PHASE, LEFT = range(0, 6 * LANES, LANES)
FLOATS, WORDS = 9 * LANES, 6 * LANES
# what was found in a measured table, see `lookup.look_up_lane`
WEIGHT, SINCE, UNTIL, LOW, SPAN, UP_LOW, UP_RISE, DOWN_LOW, DOWN_RISE, SPREAD_LOW, SPREAD_RISE = range(
    0, 11 * LANES, LANES
)
FOUND = 11 * LANES
