"""The kernel two-sample test (Gretton et al. 2012, JMLR 13:723): are two samples of one distribution?"""

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from rpudriver.errors import CalibrationError
from rpudriver.keyed import arrays as keyed

Floats = npt.NDArray[np.float32]

FACTORS = (0.5, 1.0, 2.0)  # of the median distance: a sum of kernels sees fine and coarse differences
FEWEST = 20  # of each sample: below, permutations have little to exchange
LEVEL = 0.05  # of the largest witness


@final
@dataclass(frozen=True, eq=False)
class TwoSample:
    """What the test found.

    Attributes
    ----------
    mmd2 : unbiased squared maximum mean discrepancy; about 0, and below 0 half of the time, for equal distributions.
    p : ``(b + 1) / (n + 1)``, b of n permutations having at least this discrepancy.
    null : float array ``[n]``, discrepancies of the permutations.
    bandwidths : of the Gaussian kernels that were averaged.
    witness : float array ``[N_x]``
        How much denser the first sample is than the second one around each of its points, in standard deviations
        over permutations.
    threshold : what the largest witness of a sample stays below in 95 of 100 permutations.
    """

    mmd2: float
    p: float
    null: npt.NDArray[np.float64]
    bandwidths: tuple[float, ...]
    witness: npt.NDArray[np.float64]
    threshold: float


def two_sample(x: npt.ArrayLike, y: npt.ArrayLike, permutations: int = 999, seed: int = 0) -> TwoSample:
    """Compare two samples, of one point a row, by their maximum mean discrepancy.

    Under equal distributions the points are exchangeable, so p is exact: below a with probability at most a, whatever
    the kernel. The kernel is the average of three Gaussians, of half, once and twice the median distance of the
    pooled points; it does not depend on who belongs to which sample.

    Parameters
    ----------
    x, y : ``[N_x, d]`` and ``[N_y, d]``, finite.
    permutations : n, of which the least p is ``1 / (n + 1)``.
    seed : of the permutations.

    Raises
    ------
    CalibrationError
        If a sample is smaller than 20, holds values that are no numbers, or all points are the same.
    """
    first, pooled = _pooled(x, y)
    squared = _squared_distances(pooled)
    bandwidths = _bandwidths(squared)
    kernel = np.zeros_like(squared)
    for width in bandwidths:
        kernel += np.exp(squared / np.float32(-2 * width**2)) / np.float32(len(bandwidths))
    np.fill_diagonal(kernel, 0)  # a point is not compared with itself: unbiased
    labels = np.empty((len(pooled), 1 + permutations), np.float32)
    labels[:, 0] = np.arange(len(pooled)) < first
    labels[:, 1:] = _shuffled(len(pooled), permutations, seed) < first
    towards = kernel @ labels  # of each point: the sum of kernels to the first sample
    sums = kernel.sum(1, dtype=np.float64)
    discrepancies = _mmd2(labels, towards, sums, first)
    witness, threshold = _witness(labels, towards, sums.astype(np.float32), first)
    observed, null = discrepancies[0], discrepancies[1:]
    p = (1 + np.count_nonzero(null >= observed)) / (1 + permutations)
    return TwoSample(float(observed), float(p), null, bandwidths, witness, threshold)


def _pooled(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[int, Floats]:
    """Return the size of the first sample and all points."""
    a, b = np.asarray(x, np.float32), np.asarray(y, np.float32)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1:] != b.shape[1:]:
        raise CalibrationError(f"samples must be [N, d] with one d; got {list(a.shape)} and {list(b.shape)}")
    if min(len(a), len(b)) < FEWEST:
        raise CalibrationError(f"samples of {len(a)} and {len(b)} devices are too small; give each at least {FEWEST}")
    pooled = np.concatenate([a, b])
    if not np.isfinite(pooled).all():
        raise CalibrationError("samples hold NaN or infinity; leave those devices out")
    return len(a), pooled


def _squared_distances(points: Floats) -> Floats:
    points = points - points.mean(0)
    square = (points**2).sum(1)
    squared: Floats = np.maximum(square[:, None] + square - 2 * (points @ points.T), 0)
    return squared


def _bandwidths(squared: Floats) -> tuple[float, ...]:
    """Return multiples of the median distance of two different points."""
    median = float(np.sqrt(np.median(squared[np.tri(len(squared), k=-1, dtype=np.bool_)])))
    if median == 0:
        raise CalibrationError("half of all pairs of devices did exactly the same: nothing to tell them apart by")
    return tuple(factor * median for factor in FACTORS)


def _shuffled(size: int, count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the ranks of `size` points in each of `count` random orders, ``[size, count]``."""
    keys = keyed.key(seed, "two-sample/permutation", np.arange(count))
    words = keyed.draw(keys, np.arange(size)[:, None], 0)
    ranks: npt.NDArray[np.int64] = np.argsort(np.argsort(words, axis=0, kind="stable"), axis=0, kind="stable")
    return ranks


def _mmd2(labels: Floats, towards: Floats, sums: npt.NDArray[np.float64], first: int) -> npt.NDArray[np.float64]:
    """Return the unbiased discrepancy of each column of labels [Gretton et al. 2012, eq. 3]."""
    second = len(labels) - first
    within = np.einsum("np,np->p", labels, towards, dtype=np.float64)
    across = sums @ labels - within
    other = sums.sum() - 2 * across - within
    found: npt.NDArray[np.float64] = (
        within / (first * (first - 1)) + other / (second * (second - 1)) - 2 * across / (first * second)
    )
    return found


def _witness(labels: Floats, towards: Floats, sums: Floats, first: int) -> tuple[npt.NDArray[np.float64], float]:
    """Return the witness at the points of the first sample, over its own spread, and the threshold of the largest.

    A permutation shows both how far the witness at a point strays by chance and how far the farthest of all does.
    """
    second = len(labels) - first
    witness = towards / (first - labels) - (sums[:, None] - towards) / (second - 1 + labels)
    spread = witness[:, 1:].std(1, keepdims=True)
    witness /= np.where(spread > 0, spread, np.inf)
    largest = np.where(labels[:, 1:] > 0, witness[:, 1:], -np.inf).max(0)
    return witness[:first, 0].astype(np.float64), float(np.quantile(largest, 1 - LEVEL))
