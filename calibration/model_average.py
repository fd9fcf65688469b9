"""Model average while training: the mean of the weights over time, and how much they moved [T, part II].

Between updates a few vectors are read, and the sums of an extraction are kept of them. The time is cut into sub-windows
of whole periods of the orthogonal design; each gives the mean of the weights in it, with a standard error. The mean of
the sub-windows is the model average. Their variance, less the mean square of their standard errors, is that of the
weights: of motion slower than a sub-window, for what is faster is averaged within it.

Weights that move while the sums run do not bias the mean, for the inputs' order and signs are drawn without regard to
the weights; the motion of the *other* weights of a row appears as noise, in the residuals as well, and so in the
standard errors.
"""

import math
from dataclasses import dataclass
from typing import Any, Self, final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.amplitude import Terms, pilot_reads, within
from rpudriver.calibration.designs import Orthogonal
from rpudriver.calibration.levels import InputLevels
from rpudriver.types import Read


@final
@dataclass(frozen=True, eq=False)
class Average:
    """What a time average found, float32 tensors; NaN in rows whose output always saturates.

    Attributes
    ----------
    mean, mean_error : ``[n_out, n_in]``, time average and its standard error from read noise and motion of others.
    sd : standard deviation of the sub-windows' means over the window, estimation noise subtracted; 0 where noise
        explains all of it.
    sd_error : how far `sd` would be off, were the variance one standard error larger or smaller. The variance of K
        sub-windows has the standard error ``total * sqrt(2 / (K - 1))``, total being noise and motion together.
    windows : K.
    """

    mean: torch.Tensor
    mean_error: torch.Tensor
    sd: torch.Tensor
    sd_error: torch.Tensor
    windows: int


class RunningAverage:
    """The sums of one tile. All that it knows is in `state`, so that it can be saved and put back.

    Parameters
    ----------
    shape : ``(n_out, n_in)`` of the tile.
    periods : of the design in a sub-window; `period` tells their length.
    seed, name : of the inputs.
    """

    def __init__(self, shape: tuple[int, int], periods: int, seed: int, name: str) -> None:
        self._design = Orthogonal(shape[1], seed, f"average/{name}")
        self._periods, self._seed = periods, seed
        outputs = torch.zeros(shape[0], dtype=torch.float64)
        matrix = torch.zeros(shape, dtype=torch.float64)
        self.state: dict[str, Any] = {
            "level": 0,  # of the period that is under way
            "vectors": 0,  # read in all, those that were read again not counted
            "again": 0,  # read again, because an output saturated
            "norms": outputs.clone(),
            "lost": outputs.bool(),
            "xy": matrix.clone(),
            "y": outputs.clone(),
            "yy": outputs.clone(),
            "window": matrix.clone(),  # mean of the periods of the sub-window that is under way, network units
            "window_error2": outputs.clone(),
            "windows": 0,
            "mean": matrix.clone(),
            "square": matrix.clone(),  # sum of squared deviations from the mean
            "error2": matrix.clone(),  # sum of squared standard errors
        }

    @classmethod
    def period(cls, lines: int) -> int:
        """Return the length of a period of the design, in vectors."""
        return Orthogonal(lines, 0).period

    def read(self, backend: CrossbarBackend, terms: Terms, count: int, scale: torch.Tensor) -> None:
        """Read the next vectors.

        Parameters
        ----------
        scale : float64 tensor ``[n_out]`` or ``[1]``
            Network units per chip unit; of a period the last one counts.
        """
        while count:
            period = self._design.period
            place = self.state["vectors"] % period
            if place == 0:
                self.state["level"] = self._level(backend, terms)
            now = min(count, period - place)
            self._add(backend, terms, now)
            count -= now
            if place + now == period:
                self._close_period(InputLevels.of(backend).step, scale.double())
                if self.state["vectors"] % (period * self._periods) == 0:
                    self._close_window()

    def result(self) -> Average:
        """Return what the whole sub-windows tell; at least two are needed."""
        state, windows = self.state, self.state["windows"]
        total, noise = state["square"] / (windows - 1), state["error2"] / windows
        variance, error = total - noise, total * math.sqrt(2 / (windows - 1))
        variance = variance.clamp(min=0.0)
        sd = variance.sqrt()
        sd_error = torch.maximum((variance + error).sqrt() - sd, sd - (variance - error).clamp(min=0.0).sqrt())
        lost = state["lost"][:, None]
        values = (state["mean"], (noise / windows).sqrt(), sd, sd_error)
        mean, mean_error, sd, sd_error = (torch.where(lost, math.nan, value).float() for value in values)
        return Average(mean, mean_error, sd, sd_error, windows)

    def load(self, state: dict[str, Any]) -> Self:
        """Put back a `state`."""
        self.state = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}
        return self

    def _add(self, backend: CrossbarBackend, terms: Terms, count: int) -> None:
        state = self.state
        level = self._design.levels(torch.arange(state["vectors"], state["vectors"] + count), state["level"])
        y, lost, again = read_unclipped(backend, terms, level, state["level"])
        x = level.double()
        state["lost"] |= lost
        state["again"] += again
        state["xy"] += y.t() @ x
        state["y"] += y.sum(0)
        state["yy"] += y.square().sum(0)
        state["vectors"] += count

    def _close_period(self, step: float, scale: torch.Tensor) -> None:
        """End a period: its estimate goes into the sub-window's.

        Periods are solved one by one, so that what the weights moved from one to the next is in neither's residuals.
        """
        state, vectors = self.state, self._design.period
        energy, unknowns = vectors * state["level"] ** 2, self._design.lines + 1
        weights = state["xy"] / energy
        left = state["yy"] - energy * weights.square().sum(1) - state["y"].square() / vectors
        variance = left.clamp(min=0.0) / (vectors - unknowns) / energy  # of a weight, levels
        state["norms"] = (weights.square().sum(1) - unknowns * variance).clamp(min=0.0).sqrt() / step
        state["window"] += weights / step * scale[:, None] / self._periods
        state["window_error2"] += (variance.sqrt() / step * scale / self._periods).square()
        for name in ("xy", "y", "yy"):
            state[name].zero_()

    def _close_window(self) -> None:
        """End a sub-window: its estimate goes into the running moments (Welford 1962)."""
        state = self.state
        state["windows"] += 1
        change = state["window"] - state["mean"]
        state["mean"] += change / state["windows"]
        state["square"] += change * (state["window"] - state["mean"])
        state["error2"] += state["window_error2"][:, None]
        state["window"].zero_()
        state["window_error2"].zero_()

    def _level(self, backend: CrossbarBackend, terms: Terms) -> int:
        """Return the level that tells most for a read, those that saturate and are read again counted."""
        levels, bound = InputLevels.of(backend), backend.capabilities.output_bound
        if self.state["vectors"] == 0:
            self._pilot(backend, terms, levels)
        if bound is None:
            return levels.most
        choice = levels.choice()
        size = torch.tensor(choice, dtype=torch.float64)[:, None] * levels.step * self.state["norms"]
        kept = torch.erf(bound / size.clamp(min=1e-30) / math.sqrt(2))[:, ~self.state["lost"]].log().sum(1).exp()
        reads = 2 - kept  # one more where any output saturates
        return choice[int((torch.tensor(choice) ** 2 / reads).argmax())]

    def _pilot(self, backend: CrossbarBackend, terms: Terms, levels: InputLevels) -> None:
        level = levels.most
        pilot = pilot_reads(backend, terms, level, self._seed)
        while not pilot.few_clipped and level > 1:
            level //= 2
            pilot = pilot_reads(backend, terms, level, self._seed)
        self.state["norms"], self.state["lost"] = pilot.norms, ~pilot.alive


def read_unclipped(
    backend: CrossbarBackend, terms: Terms, x: torch.Tensor, level: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return outputs ``[V, n_out]`` for inputs in levels; vectors that saturate are read again at half the size.

    The noise of the second read has nothing to do with that of the first, so choosing by the first does not bias it.
    Returned besides: which outputs saturate whatever the input is, and how many vectors were read again.
    """
    step, array = InputLevels.of(backend).step, terms[0][0]
    result = backend.run([Read(terms, within(x * step, backend))])[0]
    y, wrong = result.values.cpu().double(), result.saturated.cpu()
    size, again = level, 0
    while size > 1 and bool(wrong.any()):
        rows = wrong.any(1).nonzero()[:, 0]
        size, again = size // 2, again + len(rows)
        result = backend.run([Read(terms, within(x[rows] * (size / level) * step, backend))])[0]
        old = wrong[rows]
        y[rows] = torch.where(old, result.values.cpu().double() * (level / size), y[rows])
        wrong[rows] = old & result.saturated.cpu()
    bad = wrong | ~torch.isfinite(y)
    return torch.where(bad, 0.0, y), bad.any(0).view(array.n_out), again
