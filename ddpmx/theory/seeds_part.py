"""The seeds' part of the noise of differences: what other training seeds would change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .largest_t import Configuration, seeds_critical
from .scores import FloatArray, SpecScores, by_seed
from .spread import Spread, freedom_of_pair, spread
from .welch import welch_quantile

WIDEST_RELATIVE = 0.5
"""The largest spread, relative to the scores, that is pooled on the logarithm."""
MOST_OCTAVES = 4
"""Larger ratios of scores than 2⁴ count as this one: the smaller score's noise is then of no importance."""
LEAST_RESIDUALS = 14
"""Degrees of freedom of the residuals of spec + seed from which on seeds are paired."""


class SeedsPart:
    """The spread over seeds of each spec with at least two of them.

    Stable specs are pooled: on the logarithm where all their scores are positive, so that spreads in
    proportion to the scores are equal; and without what a seed does to all of them, where `pairs_seeds` says
    so.
    """

    spread: Spread | None
    """Of the pooled specs; None without any."""
    relative: bool
    """Whether `spread` is relative to the scores."""
    pairs_seeds: bool
    """Whether what a seed does to all pooled specs is removed: they have the same seeds, and it pays."""

    def __init__(self, specs: Sequence[SpecScores]) -> None:
        self.specs = specs
        self.members = [i for i, spec in enumerate(specs) if spec.pooled and spec.count > 1]
        pooled = [specs[i] for i in self.members]
        self.freedom = np.array([spec.count - 1.0 for spec in pooled])
        self.relative = all(value > 0 for spec in specs if spec.pooled for value in spec.values)
        self.pairs_seeds = False
        if pooled and self.relative:
            self.relative = bool(self._spread(pooled).pooled <= WIDEST_RELATIVE**2)
        self.pairs_seeds = (
            len(pooled) > 1
            and len({frozenset(spec.seeds) for spec in pooled}) == 1
            and not any(self.octaves(self.members))
            and pairing_pays(len(pooled), pooled[0].count)
        )
        self.spread = self._spread(pooled) if pooled else None

    def _spread(self, pooled: Sequence[SpecScores]) -> Spread:
        transform = np.log if self.relative else np.asarray
        if self.pairs_seeds:
            scores = transform(by_seed(pooled))
            deviations: FloatArray = scores - scores.mean(axis=1, keepdims=True)
        else:
            deviations = np.zeros((len(pooled), max(spec.count for spec in pooled)))
            for row, spec in zip(deviations, pooled, strict=True):
                values = transform(np.array(spec.values))
                row[: spec.count] = values - values.mean()
        return spread(deviations, self.freedom, self.pairs_seeds)

    def octaves(self, positions: Sequence[int]) -> tuple[int, ...]:
        """log2 of the mean scores of these specs, rounded, from 0 for the smallest; all 0 if not relative.

        What a seed does to all specs would not cancel in a difference of scores that differ in them.
        """
        if not self.relative:
            return (0,) * len(positions)
        return octaves(tuple(self.specs[i].mean for i in positions))

    def is_pooled(self, i: int) -> bool:
        """Whether spec i is stable, has two seeds or more, and a spread that is in line with the others'."""
        return (
            self.spread is not None and i in self.members and bool(self.spread.in_line[self.members.index(i)])
        )

    def variance(self, i: int) -> float:
        """The variance of a single score of a pooled spec, in squared units of the score.

        For a spec with one seed it is the pooled variance.
        """
        assert self.spread is not None
        scale = self.specs[i].mean if self.relative else 1.0
        own = self.spread.variances[self.members.index(i)] if i in self.members else self.spread.pooled
        return float(own) * scale**2

    def own(self, i: int) -> float:
        """The variance of a single score of a spec with at least two seeds, from its own scores alone."""
        return float(np.var(self.specs[i].values, ddof=1))

    def pooled_sd(self, i: int, k: int) -> float:
        """The standard deviation of the difference of the means of two pooled specs."""
        return math.sqrt(sum(self.variance(each) / self.specs[each].count for each in (i, k)))

    def pooled_freedom(self, i: int, k: int) -> float:
        """The degrees of freedom of `pooled_sd`."""
        positions = self.members.index(i), self.members.index(k)
        return freedom_of_pair(self.freedom, *positions, (self._share(i), self._share(k)), self.pairs_seeds)

    def _share(self, i: int) -> float:
        """The square of the unit of a spec's spread, over its number of seeds."""
        return (self.specs[i].mean if self.relative else 1.0) ** 2 / self.specs[i].count

    def critical(self, i: int, k: int, alpha: float) -> float:
        """The critical value of |difference| / `pooled_sd`, in all pairs of pooled specs together."""
        freedom = tuple(self.specs[each].count - 1 for each in self.members)
        configuration = Configuration(freedom, self.octaves(self.members), self.pairs_seeds)
        factor = seeds_critical(configuration, alpha)[self.members.index(i), self.members.index(k)]
        a, b = (self.variance(each) / self.specs[each].count for each in (i, k))
        return float(factor) * welch_quantile(a, b, self.specs[i].count - 1, self.specs[k].count - 1)

    def welch(self, i: int, k: int) -> tuple[float, float]:
        """(standard deviation of the difference of means, degrees of freedom) from the two specs alone."""
        # Welch 1947, Satterthwaite 1946: ν = (Σv)² / Σ(v²/νᵢ)
        counts = [self.specs[each].count for each in (i, k)]
        parts = [self.own(each) / count for each, count in zip((i, k), counts, strict=True)]
        total = sum(parts)
        weighted = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
        return math.sqrt(total), total**2 / weighted if weighted > 0 else min(counts) - 1


def pairing_pays(specs: int, seeds: int) -> bool:
    """Whether removing seeds' common effects narrows intervals where a tenth of the variance is common.

    By simulation, it does from 14 residual degrees of freedom on; the effects cost `seeds` − 1 of them.
    """
    return (specs - 1) * (seeds - 1) >= LEAST_RESIDUALS


def octaves(scores: tuple[float, ...]) -> tuple[int, ...]:
    """log2 of positive scores over their geometric mean, rounded, from 0 for the smallest to MOST_OCTAVES."""
    logs = np.log2(scores)
    rounded = np.rint(logs - logs.mean()).astype(int)
    return tuple(np.minimum(rounded - rounded.min(), MOST_OCTAVES).tolist())
