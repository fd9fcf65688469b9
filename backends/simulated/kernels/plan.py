"""Which kernel is the faster one for a batch, and what it costs."""

from rpudriver.backends.simulated.kernels.caching import compiled_as
from rpudriver.backends.simulated.kernels.pieces import TILE
from rpudriver.backends.simulated.kernels.scratch import LANES

# nanoseconds on a 2023 server core; only their ratios matter, to choose the kernel
COLLECT, LOAD, ROUND = 7.0, 14.0, 6.0  # dense: a piece of a row in a tile; a group of lanes, and each round of it
EVENT = 5.5  # sparse: a coincidence


def _plan(n_out, n_in, entries, coincidences, repeat):  # type: ignore[no-untyped-def]
    """Return whether the dense kernel is the faster one, and what the faster one costs in nanoseconds.

    Parameters
    ----------
    entries, coincidences : as in `Pieces`.
    repeat : how often the batch is applied.
    """
    events = repeat * coincidences
    sparse = events * EVENT
    collecting = COLLECT * (repeat * entries * ((n_in + TILE - 1) // TILE))
    if sparse <= collecting:
        return False, sparse
    groups = min(n_out, entries) * ((n_in + LANES - 1) // LANES)  # in rows that fire
    each = events / groups  # pulses for a group of lanes
    mean = each / LANES
    rounds = min(each, mean + 2.0 * mean**0.5 + 1.0)
    dense = collecting + groups * min(each, 1.0) * (LOAD + rounds * ROUND)
    return dense < sparse, min(dense, sparse)


plan = compiled_as("plan", _plan)
