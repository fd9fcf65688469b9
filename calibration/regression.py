"""Streaming least squares of outputs on inputs, an offset for each output along; outputs at the bound are censored.

The sums ``Y X^T``, ``Y^2`` and, for designs that are not orthogonal, ``X X^T`` do not grow with the number of reads [T,
eq. 4]. Of outputs that saturated, which tell only that ``|y|`` was at least the bound, vector number, line and sign are
kept, and expectation maximisation for the censored model (Tobin 1958; Dempster, Laird & Rubin 1977) takes the place of
the least squares: each is replaced by its mean given the current weights and that it is beyond the bound, the normal
equations are solved again, and so on.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import torch

from rpudriver.calibration.designs import Design
from rpudriver.errors import CalibrationError
from rpudriver.types import ReadResult

Sums = dict[str, Any]
ROUNDS = 300  # of expectation maximisation, at most
SETTLED = 0.01  # standard errors: weights that move less in a round are settled
AT_ONCE = 1024  # vectors whose outputs are predicted together
SPARE_SHARE = 0.1  # of the reads must be left to tell the noise of an output of which some were clipped
LEAST_SEEN = 0.5  # an output that is beyond the bound more often than not is not told from so few


@final
@dataclass(frozen=True, eq=False)
class Solution:
    """Weights and their standard errors, chip units; NaN and infinity for outputs that are not determined.

    Attributes
    ----------
    weights, error : float64 tensors ``[n_out, n_in]``
    offset, offset_error, noise : float64 tensors ``[n_out]``; noise is the standard deviation of one read, rounding
        included.
    seen : float64 tensor ``[n_out]``, share of the reads that were not clipped.
    vectors : how many were read.
    rounds : of expectation maximisation; 0 where nothing was clipped.
    """

    weights: torch.Tensor
    error: torch.Tensor
    offset: torch.Tensor
    offset_error: torch.Tensor
    noise: torch.Tensor
    seen: torch.Tensor
    vectors: int
    rounds: int

    @property
    def determined(self) -> torch.Tensor:
        """Outputs that are told from their reads, bool ``[n_out]``."""
        return torch.isfinite(self.noise)

    @property
    def overall_error(self) -> float:
        """Root of the mean square of the standard errors of all weights that are determined; NaN if none is."""
        return float(self.error[self.determined].square().mean().sqrt())


def start_sums(design: Design, outputs: int) -> Sums:
    """Return sums of nothing."""
    n = design.lines
    sums = {
        "vectors": 0,
        "xy": torch.zeros(outputs, n, dtype=torch.float64),
        "y": torch.zeros(outputs, dtype=torch.float64),
        "yy": torch.zeros(outputs, dtype=torch.float64),
        "clipped": torch.zeros(0, dtype=torch.int64),
    }
    if not design.orthogonal:
        sums["xx"] = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    return sums


def add_reads(sums: Sums, x: torch.Tensor, result: ReadResult) -> None:
    """Add the reads of inputs x, in levels, float32 ``[V, n_in]``; they follow those added before.

    A clipped output counts as the bound, with its sign; ``(number * outputs + line + 1) * sign`` notes it.
    """
    x, y = x.double(), result.values.cpu().double()
    clipped = result.saturated.cpu()
    if bool(clipped.any()):
        places = clipped.flatten().nonzero()[:, 0]
        signs = torch.where(y.flatten()[places] < 0, -1, 1)
        sums["clipped"] = torch.cat([sums["clipped"], (sums["vectors"] * y.shape[1] + places + 1) * signs])
    sums["xy"] += y.t() @ x
    sums["y"] += y.sum(0)
    sums["yy"] += y.square().sum(0)
    if "xx" in sums:
        extended = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
        sums["xx"] += extended.t() @ extended
    sums["vectors"] += len(x)


@final
class Model:
    """The linear model of an array's outputs.

    Parameters
    ----------
    design, level : the inputs, as whole levels up to `level`.
    level_size : of one level, chip units of input.
    bound : of the outputs; None if there is none.
    rounding : step of the output converter, 0 without one.
    """

    def __init__(self, design: Design, level: int, level_size: float, bound: float | None, rounding: float) -> None:
        self.design, self.level, self.level_size = design, level, level_size
        self.bound, self.rounding = bound, rounding

    def solve(self, sums: Sums) -> Solution:
        """Return the weights; where outputs were clipped, ``sums["last"]`` keeps them for the next time to start from.

        Raises
        ------
        CalibrationError
            If there are too few reads, or the inputs do not determine the weights.
        """
        vectors, unknowns = sums["vectors"], self.design.lines + 1
        if vectors < self.design.needed:
            raise CalibrationError(
                f"{vectors} reads do not determine {unknowns} unknowns of each output and its noise; "
                f"the {self.design.name} design needs at least {self.design.needed}"
            )
        normal = _Normal(sums, self.design, self.level)
        xy, y, yy = sums["xy"], sums["y"], sums["yy"]
        censored = _Censored(self, sums)
        beta: torch.Tensor = sums.get("last", normal.solve(_joined(xy, y)))
        variance = self._variance(beta, xy, y, yy, vectors, vectors - unknowns)
        rounds = 0
        while censored.some and rounds < ROUNDS:
            rounds += 1
            xy_more, y_more = censored.expected(beta, variance)
            xy, y = sums["xy"] + xy_more, sums["y"] + y_more
            moved = normal.solve(_joined(xy, y))
            yy = sums["yy"] + censored.squares_more
            left = (vectors * censored.seen - unknowns).clamp(min=1.0)
            variance = self._variance(moved, xy, y, yy, vectors, left, censored.residual)
            settled = (SETTLED * (variance * normal.diagonal[0]).sqrt()).clamp(min=1e-9 * float(moved.abs().max()))
            change, beta = (moved - beta)[:, :-1].abs().amax(1), moved
            if bool((change < settled)[censored.told].all()):
                break
        if rounds:
            sums["last"] = beta
        return self._solution(beta, variance, normal, censored, vectors, rounds)

    def _variance(
        self,
        beta: torch.Tensor,
        xy: torch.Tensor,
        y: torch.Tensor,
        yy: torch.Tensor,
        vectors: int,
        left: torch.Tensor | int,
        clipped: torch.Tensor | float = 0.0,
    ) -> torch.Tensor:
        """Return the variance of one read of each output: residuals of what was not clipped, over what is left."""
        explained = (beta[:, :-1] * xy).sum(1) + beta[:, -1] * y
        # a difference of large sums: what is below their rounding is zero
        return (yy - explained - clipped).clamp(min=0.0) / left

    def _solution(
        self,
        beta: torch.Tensor,
        variance: torch.Tensor,
        normal: "_Normal",
        censored: "_Censored",
        vectors: int,
        rounds: int,
    ) -> Solution:
        told = censored.told & (vectors * censored.seen > self.design.lines + 1 + SPARE_SHARE * vectors)
        inverse = censored.inverse_diagonals(normal, told)
        told &= inverse.isfinite().all(1)
        error = (variance[:, None] * inverse[:, :-1] + self._stuck_rounding(variance)[:, None]).sqrt()
        offset_error = (variance * inverse[:, -1]).sqrt()
        size, nan = self.level_size, math.nan
        return Solution(
            torch.where(told[:, None], beta[:, :-1] / size, nan),
            torch.where(told[:, None], error / size, math.inf),
            torch.where(told, beta[:, -1], nan),
            torch.where(told, offset_error, math.inf),
            torch.where(told, variance.sqrt(), math.inf),
            censored.seen,
            vectors,
            rounds,
        )

    def _stuck_rounding(self, variance: torch.Tensor) -> torch.Tensor:
        """Return the variance of a weight, in levels, from rounding that is the same in every read of an input.

        Read noise of half a step or more dithers it away, and so do the many different outputs of many lines.
        """
        one = self.rounding**2 / 12
        dithered = (variance - one).clamp(min=0.0).sqrt() >= self.rounding / 2
        return torch.where(dithered, 0.0, one / (self.design.patterns * self.design.energy(self.level)))


def _joined(xy: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.cat([xy, y[:, None]], 1)


class _Normal:
    """The normal matrix of weights and offset, in levels; a diagonal one is kept as its diagonal."""

    def __init__(self, sums: Sums, design: Design, level: int) -> None:
        vectors = sums["vectors"]
        if design.orthogonal:
            energy = torch.full((design.lines + 1,), vectors * design.energy(level), dtype=torch.float64)
            energy[-1] = vectors
            self.matrix, self._factor, self.diagonal = torch.diag(energy), None, 1 / energy
            return
        self.matrix = sums["xx"]
        factor, failed = torch.linalg.cholesky_ex(self.matrix)
        if int(failed):
            raise CalibrationError(
                f"{vectors} reads do not determine the weights: line {int(failed) - 1} depends on the others; "
                f"read more (at least {design.needed})"
            )
        self._factor, self.diagonal = factor, _inverse_diagonal(factor)

    def solve(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows ``[..., n_in + 1]`` times the inverse."""
        if self._factor is None:
            return rows * self.diagonal
        return torch.cholesky_solve(rows.t(), self._factor).t()

    def diagonal_without(self, x: torch.Tensor) -> torch.Tensor:
        """Return the diagonal of the inverse that is left without some vectors; infinity if it is singular."""
        if len(x) > x.shape[1]:
            factor, failed = torch.linalg.cholesky_ex(self.matrix - x.t() @ x)
            left = _inverse_diagonal(factor)
            return torch.full_like(left, math.inf) if int(failed) else left
        solved = self.solve(x)  # few vectors: by Woodbury's identity
        factor, failed = torch.linalg.cholesky_ex(torch.eye(len(x), dtype=x.dtype) - solved @ x.t())
        if int(failed):
            return torch.full_like(self.diagonal, math.inf)
        lost: torch.Tensor = torch.linalg.solve_triangular(factor, solved, upper=False)
        return self.diagonal + lost.square().sum(0)


def _inverse_diagonal(factor: torch.Tensor) -> torch.Tensor:
    inverse: torch.Tensor = torch.cholesky_inverse(factor)
    return inverse.diagonal()


class _Censored:
    """The clipped outputs: what they are expected to have been, and how much they tell."""

    def __init__(self, model: Model, sums: Sums) -> None:
        self._model, codes = model, sums["clipped"]
        outputs = len(sums["y"])
        self.some = bool(len(codes))
        if self.some and model.bound is None:
            raise CalibrationError("the chip flags outputs as saturated but declares no output bound; mend its profile")
        self._bound = model.bound or math.inf
        places = codes.abs() - 1
        self._signs = codes.sign().double()
        self._lines, numbers = places % outputs, places // outputs
        self._vectors, self._which = numbers.unique(return_inverse=True)
        self._reads = sums["vectors"]
        self.seen = 1 - torch.bincount(self._lines, minlength=outputs).double() / self._reads
        self.told = self.seen >= LEAST_SEEN
        self.squares_more = torch.zeros(outputs, dtype=torch.float64)  # of the expected outputs over the bound's
        self.residual = torch.zeros(outputs, dtype=torch.float64)  # sum of squares of the expected outputs' residuals

    def expected(self, beta: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the expected outputs add to the sums of ``y x`` and of ``y``, which hold the bound for them."""
        floor = max((self._model.rounding / 4) ** 2, 1e-12)
        sigma, bound = variance.clamp(min=floor).sqrt(), self._signs * self._bound
        xy, along = torch.zeros(beta.shape[0], beta.shape[1] - 1, dtype=torch.float64), torch.empty_like(bound)
        beyond, weights = torch.empty_like(bound), beta[:, :-1].float().t()
        for start in range(0, len(self._vectors), AT_ONCE):
            mine = ((self._which >= start) & (self._which < start + AT_ONCE)).nonzero()[:, 0]
            x = self._model.design.levels(self._vectors[start : start + AT_ONCE], self._model.level)
            place = self._which[mine] - start, self._lines[mine]
            along[mine] = (x @ weights)[place].double()
            mean = self._signs[mine] * (along[mine] + beta[:, -1][place[1]])
            beyond[mine] = sigma[place[1]] * _hazard((self._bound - mean) / sigma[place[1]])
            more = torch.zeros(
                len(x), len(sigma)
            )  # x are whole numbers: their products with few digits are exact enough
            more[place] = (self._signs[mine] * (mean + beyond[mine] - self._bound)).float()
            xy += (more.t() @ x).double()
        expected = along + beta[:, -1][self._lines] + self._signs * beyond
        self.squares_more = self._by_line(expected.square() - self._bound**2)
        self.residual = self._by_line(beyond.square())
        return xy, self._by_line(expected - bound)

    def inverse_diagonals(self, normal: _Normal, told: torch.Tensor) -> torch.Tensor:
        """Return by output the diagonal of the inverse normal matrix of the reads that were not clipped.

        A clipped output tells next to nothing: where the noise is far smaller than the output, only that it was large.
        """
        inverse = normal.diagonal.repeat(len(self.seen), 1)
        counts = torch.bincount(self._lines, minlength=len(self.seen))
        order = self._lines.argsort(stable=True).split(counts.tolist())
        for line in (told & (counts > 0)).nonzero()[:, 0].tolist():
            numbers = self._vectors[self._which[order[line]]]
            x = self._model.design.levels(numbers, self._model.level).double()
            inverse[line] = normal.diagonal_without(torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1))
        return inverse

    def _by_line(self, values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(self.seen).index_add_(0, self._lines, values)


def _hazard(z: torch.Tensor) -> torch.Tensor:
    """Return ``phi(z) / (1 - Phi(z))``, the mean of a standard normal number given that it is beyond z."""
    scaled: torch.Tensor = torch.special.erfcx(z / math.sqrt(2))
    return math.sqrt(2 / math.pi) / scaled
