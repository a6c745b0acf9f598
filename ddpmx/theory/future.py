"""The seeds' part of a difference as it would be with another number of seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .differences import Family, Part
from .estimate import student_t
from .largest_t import seeds_critical
from .spread import freedom_of_pair

GRID = (2, 3, 4, 5, 6, 8, 11, 16, 24, 40, 64)
"""Numbers of seeds whose critical values are simulated; those of others lie between."""
REPETITIONS = 2_000
"""Of those simulations: within 2 %, which the uncertainty of the variances far exceeds."""


@dataclass(frozen=True)
class FutureSeeds:
    """Two specs' variances over seeds, and how they are compared."""

    variances: tuple[float, float]
    """Of a single score, in squared units of the score."""
    degrees_of_freedom: float
    """Of these variances."""
    pooled: int
    """The number of specs whose spreads are pooled, once all have several seeds; 0 for Welch's test."""
    pairs_seeds: bool
    """Whether what a seed does to all specs is removed."""
    alpha: float
    """Of all pooled pairs together, or of this pair alone for Welch's test."""

    def part(self, seeds: int) -> Part:
        """The seeds' part with this number of seeds of every spec, at least 2."""
        sd = math.sqrt(sum(self.variances) / seeds)
        if not self.pooled:
            squares = sum(variance**2 for variance in self.variances)
            freedom = (seeds - 1) * (sum(self.variances) ** 2 / squares if squares else 1)
            return Part(sd, freedom, student_t(freedom, self.alpha))
        freedom = freedom_of_pair(np.full(self.pooled, seeds - 1.0), 0, 1, self.pairs_seeds)
        return Part(sd, freedom, _critical(self.pooled, seeds, self.pairs_seeds, self.alpha))


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
        return FutureSeeds((part.own(i), part.own(k)), freedom, 0, False, family.alpha / pairs)
    pooled = sum(spec.pooled for spec in specs)
    alpha = family.alpha * pooled * (pooled - 1) / 2 / pairs
    return FutureSeeds((part.variance(i), part.variance(k)), freedom, pooled, part.pairs_seeds, alpha)


def _critical(specs: int, seeds: int, pairs_seeds: bool, alpha: float) -> float:
    """Between the values of the neighbouring numbers in GRID, linear in 1/seeds."""
    above = next(n for n in GRID if n >= seeds)
    if above == seeds:
        return _simulated(specs, seeds, pairs_seeds, alpha)
    below = max(n for n in GRID if n < seeds)
    share = (1 / seeds - 1 / above) / (1 / below - 1 / above)
    ends = [_simulated(specs, n, pairs_seeds, alpha) for n in (below, above)]
    return share * ends[0] + (1 - share) * ends[1]


@lru_cache(maxsize=1024)
def _simulated(specs: int, seeds: int, pairs_seeds: bool, alpha: float) -> float:
    return float(seeds_critical((seeds - 1,) * specs, pairs_seeds, alpha, REPETITIONS)[0, 1])
