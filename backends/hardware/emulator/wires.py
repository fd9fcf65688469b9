"""A crossbar whose lines have resistance: every device has a node on its row and one on its column.

Drivers are at the first device of a line, one piece of wire away. Rows are chains, so are columns: with one side's
potentials known, the other side's are tridiagonal systems. What is left of the columns, once the rows are
eliminated, is solved by conjugate gradients, preconditioned by the columns themselves.
"""

import math

import numpy as np

from rpudriver.keyed import native

PRECISION = 1e-10
MOST_ROUNDS = 10_000


@native.compiled
def across(siemens, rows, columns, wire):  # type: ignore[no-untyped-def]
    """Return volts, row minus column, across each device ``[R, C]``.

    Parameters
    ----------
    siemens : conductances above 0, float64 ``[R, C]``.
    rows, columns : volts of the drivers, float64 ``[R]`` and ``[C]``; NaN where a line floats. One at least is driven.
    wire : siemens of the wire between two neighbours.
    """
    shape = siemens.shape
    across_wires = np.ascontiguousarray(siemens.T)
    row_pivots, column_pivots = _pivots(siemens, rows, wire), _pivots(across_wires, columns, wire)
    u, v = np.zeros(shape), np.zeros((shape[1], shape[0]))
    row_drive, residual = _drive(rows, shape[1], wire), _drive(columns, shape[0], wire)
    _solve(row_pivots, wire, row_drive, u)
    residual += across_wires * u.T
    z = np.zeros_like(v)
    _solve(column_pivots, wire, residual, z)
    direction, size = z.copy(), (residual * z).sum()
    enough, rounds = size * PRECISION * PRECISION, 0
    while size > enough and rounds < MOST_ROUNDS:
        _solve(row_pivots, wire, siemens * direction.T, u)
        image = _times(across_wires, columns, wire, direction) - across_wires * u.T
        step = size / (direction * image).sum()
        v += step * direction
        residual -= step * image
        _solve(column_pivots, wire, residual, z)
        before, size = size, (residual * z).sum()
        direction = z + (size / before) * direction
        rounds += 1
    _solve(row_pivots, wire, row_drive + siemens * v.T, u)
    return u - v.T


@native.compiled
def _drive(volts, nodes, wire):  # type: ignore[no-untyped-def]
    """Return the currents that drivers push into the first node of their line, ``[lines, nodes]``."""
    found = np.zeros((len(volts), nodes))
    for line in range(len(volts)):
        if not math.isnan(volts[line]):
            found[line, 0] = wire * volts[line]
    return found


@native.compiled
def _pivots(siemens, volts, wire):  # type: ignore[no-untyped-def]
    """Return one over the pivots of each chain's elimination, ``[lines, nodes]``.

    What a node sees of all before it is a conductance to ground: sums and series of positive numbers, so that nothing
    cancels where wires conduct far better than devices.
    """
    found, last = np.empty_like(siemens), siemens.shape[1] - 1
    for line in range(len(siemens)):
        seen = 0.0 if math.isnan(volts[line]) else wire
        for node in range(last + 1):
            seen += siemens[line, node]
            found[line, node] = 1 / (seen + (wire if node < last else 0.0))
            seen = wire * seen / (wire + seen)
    return found


@native.compiled
def _solve(pivots, wire, currents, out):  # type: ignore[no-untyped-def]
    """Solve all chains for the currents into their nodes."""
    last = pivots.shape[1] - 1
    for line in range(len(pivots)):
        carried = 0.0
        for node in range(last + 1):
            carried = currents[line, node] + wire * carried
            carried *= pivots[line, node]
            out[line, node] = carried
        for node in range(last - 1, -1, -1):
            out[line, node] += wire * pivots[line, node] * out[line, node + 1]


@native.compiled
def _times(siemens, volts, wire, potentials):  # type: ignore[no-untyped-def]
    """Return the currents into the nodes of chains at some potentials, devices to ground included."""
    found, last = siemens * potentials, siemens.shape[1] - 1
    for line in range(len(siemens)):
        if not math.isnan(volts[line]):
            found[line, 0] += wire * potentials[line, 0]
        for node in range(last):
            current = wire * (potentials[line, node] - potentials[line, node + 1])
            found[line, node] += current
            found[line, node + 1] -= current
    return found
