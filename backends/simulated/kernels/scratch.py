"""Where a thread keeps the devices that it drains: float32 and 32-bit words, `LANES` of each, one after the other."""

import numpy as np
import numpy.typing as npt

LANES = 32
W, STEP_UP, STEP_DOWN, W_MAX, W_MIN, SLOPE_UP, SLOPE_DOWN, GAMMA, SCALE, Q, SPREAD = range(0, 11 * LANES, LANES)
SIGNS, LENGTH, SEEN, LINE, PHASE, PLACE = range(0, 6 * LANES, LANES)
ALIGNMENT = 64  # bytes of a line of cache: vectors that straddle one are slow to read back

Scratch = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32], npt.NDArray[np.uint32]]


def new_scratch(tile: int) -> Scratch:
    """Return the scratch of one thread: floats, words, and the queues of a tile, all empty."""
    floats = _aligned(11 * LANES).view(np.float32)
    queues = _aligned(tile)
    queues[:] = 1  # an end mark and nothing before it
    return floats, _aligned(6 * LANES), queues


def _aligned(words: int) -> npt.NDArray[np.uint32]:
    raw = np.zeros(4 * words + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + 4 * words].view(np.uint32)
