"""The potentials of a crossbar's lines, by Kirchhoff's current law: ``docs/emulator.md`` has the equations."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAK_S = 1e-12  # of a device at least: a floating line whose devices are all dead has a potential, too


def across(siemens: Floats, rows: Floats, columns: Floats) -> Floats:
    """Return volts, row minus column, across each device ``[R, C]``.

    Parameters
    ----------
    siemens : conductances ``[R, C]``.
    rows, columns : volts that lines are driven with, ``[R]`` and ``[C]``; NaN where a line floats.
    """
    free = np.isnan(np.concatenate([rows, columns]))
    if free.all():
        return np.zeros_like(siemens)  # nothing is driven
    potential = np.where(free, 0.0, np.concatenate([rows, columns]))
    if free.any():
        laplacian = _laplacian(siemens)
        currents = -laplacian[np.ix_(free, ~free)] @ potential[~free]
        potential[free] = np.linalg.solve(laplacian[np.ix_(free, free)], currents)
    return potential[: len(rows), None] - potential[None, len(rows) :]


def across_each(siemens: Floats, places: npt.NDArray[np.int64], volts: float) -> Floats:
    """Return what `across` does for single cross-points driven one at a time, all other lines floating.

    Parameters
    ----------
    places : row and column of each, ``[N, 2]``.
    volts : across the one that is driven.

    Returns
    -------
    volts ``[N, R, C]``: one inverse serves for all, for a current from a row to a column is what drives.
    """
    rows = len(siemens)
    laplacian = _laplacian(siemens)
    laplacian += laplacian.diagonal().mean() / len(laplacian)  # of no effect on differences, and it can be inverted
    inverse = np.linalg.inv(laplacian)
    potential = inverse[places[:, 0]] - inverse[rows + places[:, 1]]  # [N, R + C], for one ampere
    found = potential[:, :rows, None] - potential[:, None, rows:]
    return found * (volts / found[np.arange(len(places)), places[:, 0], places[:, 1]])[:, None, None]


def _laplacian(siemens: Floats) -> Floats:
    """Return the matrix that takes potentials of rows and columns to the currents that flow into them."""
    rows, columns = siemens.shape
    siemens = np.maximum(siemens, LEAK_S)
    matrix = np.zeros((rows + columns, rows + columns))
    matrix[:rows, rows:] = -siemens
    matrix[rows:, :rows] = -siemens.T
    matrix[np.diag_indices(rows + columns)] = np.concatenate([siemens.sum(1), siemens.sum(0)])
    return matrix
