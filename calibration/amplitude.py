"""How large inputs may be: a few pilot reads tell the noise and the size of outputs, a prediction tells the rest."""

import math
from dataclasses import dataclass
from typing import final

import torch

from rpudriver.backends.base import CrossbarBackend
from rpudriver.calibration.designs import Design, Orthogonal
from rpudriver.calibration.levels import InputLevels, output_step
from rpudriver.calibration.procedure import usable
from rpudriver.types import Array, Read

Terms = tuple[tuple[Array, float], ...]
VECTORS = 24  # of a pilot, in chance signs
AGAIN = 8  # of them are read twice: the difference tells the read noise
FEW = 0.01  # share of clipped outputs that a pilot may have
MOST_LOSS = 1.1  # factor by which clipping may raise the mean variance of the weights
SEEN = 0.75  # share of reads in which every output is to stay below the bound
FREE = 0.9995  # share of reads below the bound at which clipping costs nothing
MARGIN = 0.98  # of the wanted error is planned for


@final
@dataclass(frozen=True, eq=False)
class Pilot:
    """What pilot reads told.

    Attributes
    ----------
    level : of the inputs.
    reads : spent on it.
    noise : standard deviation of one read, rounding included, over all outputs.
    norms : float64 tensor ``[n_out]``, root of the sum of squares of an output's weights, chip units.
    alive : bool tensor ``[n_out]``, outputs that were not beyond the bound in every single read.
    pairs : outputs that were read twice without being clipped.
    few_clipped : whether so few outputs were clipped that the norms can be trusted.
    """

    level: int
    reads: int
    noise: float
    norms: torch.Tensor
    alive: torch.Tensor
    pairs: int
    few_clipped: bool


def pilot_reads(backend: CrossbarBackend, terms: Terms, level: int, seed: int) -> Pilot:
    """Read some vectors of +-level, a part of them twice."""
    array, levels = terms[0][0], InputLevels.of(backend)
    design = Orthogonal(array.n_in, seed, "pilot")
    numbers = torch.arange(VECTORS) + VECTORS * level  # others at every level
    x = design.levels(torch.cat([numbers, numbers[:AGAIN]]), level) * levels.step
    result = backend.run([Read(terms, within(x, backend))])[0]
    y = usable(result.values, f"array {array.name!r}, pilot").double()
    clipped = result.saturated.cpu()
    first, second = y[:AGAIN], y[VECTORS:]
    good = ~(clipped[:AGAIN] | clipped[VECTORS:])
    squares = torch.where(good, (first - second).square() / 2, 0.0).sum() / max(1, int(good.sum()))
    variance = max(float(squares), output_step(backend.capabilities) ** 2 / 12)
    alive = ~clipped.all(0)
    spread = y[:VECTORS].var(0)
    norms2 = (_steadied(spread, alive) - variance).clamp(min=0.0) / (level * levels.step) ** 2
    few = float(clipped[:, alive].double().mean()) <= FEW if bool(alive.any()) else True
    return Pilot(level, len(x), math.sqrt(variance), norms2.sqrt(), alive, int(good.sum()), few)


def _steadied(variance: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Draw single lines' estimates of a variance, each from so few reads, to their mean as far as chance explains."""
    own = variance[alive]
    if len(own) < 2:
        return variance
    chance = 2 * own.square().mean() / (VECTORS + 1)
    share = (1 - chance / own.var().clamp(min=1e-30)).clamp(min=0.0)
    return own.mean() + share * (variance - own.mean())


@final
@dataclass(frozen=True)
class Plan:
    """Level and number of vectors of an extraction, and the error that they promise."""

    level: int
    vectors: int
    error: float


@final
class Planner:
    """Predicts the error of an extraction from its pilot.

    Parameters
    ----------
    choice : levels to choose from, rising.
    level_size : of one level, chip units of input.
    bound : of the outputs; None if there is none.
    """

    def __init__(self, pilot: Pilot, design: Design, choice: list[int], level_size: float, bound: float | None) -> None:
        self._design, self._levels = design, choice
        self._energy = torch.tensor([design.energy(level) for level in choice], dtype=torch.float64) * level_size**2
        size = self._energy.sqrt()[:, None] * pilot.norms[None, pilot.alive]
        chance = (bound or math.inf) / size.clamp(min=1e-30) / math.sqrt(2)
        self._seen = torch.erf(chance) if size.numel() else torch.ones(len(size), 1)  # outputs are sums of many inputs
        self._noise = pilot.noise

    def errors(self, vectors: int) -> torch.Tensor:
        """Return by level the root of the mean variance of the weights; infinity where too much would be clipped."""
        unknowns = self._design.lines + 1
        left = (self._seen * vectors - unknowns).clamp(min=1e-9)
        grows = (vectors - unknowns) / left
        bad = (grows.mean(1) > MOST_LOSS) | (self._seen.amin(1) < SEEN)
        base = self._noise**2 / (self._energy * (vectors if self._design.orthogonal else vectors - unknowns))
        error = (base * grows.mean(1)).sqrt()
        lowest = torch.arange(len(bad)) == 0  # always there, for chips on which even that is much
        return torch.where(bad & ~lowest, math.inf, error)

    def best(self, vectors: int) -> Plan:
        """Return the plan with the smallest error for so many vectors."""
        errors = self.errors(vectors)
        return Plan(self._levels[int(errors.argmin())], vectors, float(errors.min()))

    def shortest(self, target: float, most: int) -> Plan:
        """Return the plan with the fewest vectors that reaches a target; the best one for `most`, if they do not.

        Of the levels that do, it takes the largest at which clipping costs nothing, or the smallest of all.
        """
        vectors = self._design.needed
        while vectors < most:
            errors = self.errors(vectors)
            enough = errors <= MARGIN * target
            if bool(enough.any()):
                free = (enough & (self._seen.mean(1) > FREE)).nonzero()[:, 0]
                taken = int(free[-1]) if len(free) else int(enough.nonzero()[0, 0])
                return Plan(self._levels[taken], vectors, float(errors[taken]))
            likely = vectors * float(errors.min() / (MARGIN * target)) ** 2
            vectors = max(
                vectors + max(self._design.period, vectors // 50), self._design.whole(min(0.9 * likely, most))
            )
        return self.best(self._design.whole(most))


def within(x: torch.Tensor, backend: CrossbarBackend) -> torch.Tensor:
    """Return inputs held within what is armed: a level times its size may be rounded to just above."""
    largest = backend.allowed[1]
    return x.clamp_(-largest, largest)
