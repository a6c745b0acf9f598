"""The seeds' part of a difference as it would be with another number of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .differences import Family, Part
from .estimate import student_t
from .largest_t import Configuration, seeds_critical
from .spread import freedom_of_pair
from .welch import welch_quantile

GRID = (2, 3, 4, 5, 6, 8, 11, 16, 24, 40, 64)
"""Numbers of seeds whose critical values are simulated; those of others lie between."""
REPETITIONS = 2_000
"""Of those simulations: within 2 %, which the uncertainty of the variances far exceeds."""


class Future(Protocol):
    """The seeds' part of a difference, or contrast, for any number of seeds."""

    @property
    def degrees_of_freedom(self) -> float:
        """Of the variances that it follows from."""

    def part(self, seeds: int) -> Part:
        """The seeds' part with this number of seeds of every spec, at least 2."""


@dataclass(frozen=True)
class FutureSeeds:
    """Two specs' variances over seeds, and how they are compared."""

    variances: tuple[float, float]
    """Of a single score, in squared units of the score."""
    degrees_of_freedom: float
    """Of these variances."""
    pair: tuple[int, int]
    """Positions of the two among the specs whose spreads are pooled, once all have several seeds."""
    octaves: tuple[int, ...]
    """Of the mean scores of those specs; empty for Welch's test."""
    pairs_seeds: bool
    """Whether what a seed does to all specs is removed."""
    alpha: float
    """Of all pooled pairs together, or of this pair alone for Welch's test."""

    def part(self, seeds: int) -> Part:
        """The seeds' part with this number of seeds of every spec, at least 2."""
        sd = math.sqrt(sum(self.variances) / seeds)
        if not self.octaves:
            squares = sum(variance**2 for variance in self.variances)
            freedom = (seeds - 1) * (sum(self.variances) ** 2 / squares if squares else 1)
            return Part(sd, freedom, student_t(freedom, self.alpha))
        i, k = self.pair
        shares = (4.0 ** self.octaves[i], 4.0 ** self.octaves[k])
        counts = np.full(len(self.octaves), seeds - 1.0)
        freedom = freedom_of_pair(counts, i, k, shares, self.pairs_seeds)
        quantile = welch_quantile(*self.variances, seeds - 1, seeds - 1)
        return Part(sd, freedom, self._critical(seeds) * quantile)

    def _critical(self, seeds: int) -> float:
        """Between the values of the neighbouring numbers in GRID, linear in 1/seeds."""
        above = next(n for n in GRID if n >= seeds)
        if above == seeds:
            return self._simulated(seeds)
        below = max(n for n in GRID if n < seeds)
        share = (1 / seeds - 1 / above) / (1 / below - 1 / above)
        return share * self._simulated(below) + (1 - share) * self._simulated(above)

    def _simulated(self, seeds: int) -> float:
        configuration = Configuration((seeds - 1,) * len(self.octaves), self.octaves, self.pairs_seeds)
        return float(seeds_critical(configuration, self.alpha, REPETITIONS)[self.pair])


def future_seeds(family: Family, i: int, k: int) -> FutureSeeds | None:
    """What is known of the spread of specs i and k; None where a spec has one seed and none is pooled.

    A spec with one seed gets the pooled spread.
    """
    part, specs = family.seeds_part, family.specs
    difference = family.difference(i, k)
    if difference.seeds is None and (part.spread is None or not (specs[i].pooled and specs[k].pooled)):
        return None
    freedom = float(part.freedom.sum()) if difference.seeds is None else difference.seeds.degrees_of_freedom
    pairs = len(family.pairs)
    if difference.welch:
        return FutureSeeds((part.own(i), part.own(k)), freedom, (0, 1), (), False, family.alpha / pairs)
    pooled = [position for position, spec in enumerate(specs) if spec.pooled]
    alpha = family.alpha * len(pooled) * (len(pooled) - 1) / 2 / pairs
    return FutureSeeds(
        (part.variance(i), part.variance(k)),
        freedom,
        (pooled.index(i), pooled.index(k)),
        part.octaves(pooled),
        part.pairs_seeds,
        alpha,
    )
