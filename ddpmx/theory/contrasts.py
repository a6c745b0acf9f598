"""Contrasts of specs: weighted sums of their mean scores, with the same two noises as differences.

The images' part follows from the covariance of the scores over images. The seeds' part is exact where all
specs have the same seeds, since a contrast then has a value for each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .differences import Difference, Family, Part
from .estimate import student_t
from .scores import FloatArray, SpecScores, by_seed


@dataclass(frozen=True)
class FutureContrast:
    """The seeds' part of a contrast as it would be with another number of seeds of every spec."""

    now: Part
    """The seeds' part of the data."""
    seeds: int
    """The fewest seeds of any spec in the data, at least 2."""
    alpha: float
    """The probability that the interval misses the contrast."""

    @property
    def degrees_of_freedom(self) -> float:
        """Of the variance over seeds in the data."""
        return self.now.degrees_of_freedom

    def part(self, seeds: int) -> Part:
        """The seeds' part with this number of seeds, at least 2."""
        freedom = self.now.degrees_of_freedom * (seeds - 1) / (self.seeds - 1)
        return Part(self.now.sd * math.sqrt(self.seeds / seeds), freedom, student_t(freedom, self.alpha))


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of specs' mean scores."""

    difference: Difference
    """Its value with its noises; without an interval, at the level of networks, where a spec has one seed."""
    future: FutureContrast | None
    """None where a spec has one seed."""


def contrast(family: Family, weights: Mapping[int, float], alpha: float) -> Contrast:
    """Σ weight·mean score of the specs at these positions of a family, with an interval at 1 − alpha."""
    positions = [position for position, weight in weights.items() if weight]
    specs = [family.specs[position] for position in positions]
    c = np.array([weights[position] for position in positions])
    value = math.fsum(weight * spec.mean for weight, spec in zip(c.tolist(), specs, strict=True))
    fewest = min(spec.count for spec in specs)
    if fewest < 2:
        return Contrast(Difference(value, "networks", None, None), None)
    seeds, paired = _seeds(specs, c, alpha)
    difference = Difference(value, "specs", _images(family, positions, c, alpha), seeds, not paired)
    return Contrast(difference, FutureContrast(seeds, fewest, alpha))


def covariance_over_seeds(specs: Sequence[SpecScores]) -> tuple[FloatArray, bool]:
    """(the covariance [K, K] of specs' mean scores over seeds, whether they are paired by seed).

    Each spec has at least 2 seeds. Specs with different seeds are independent.
    """
    if len({frozenset(spec.seeds) for spec in specs}) == 1:
        return np.atleast_2d(np.cov(by_seed(specs))) / specs[0].count, True
    return np.diag([float(np.var(spec.values, ddof=1)) / spec.count for spec in specs]), False


def _images(family: Family, positions: Sequence[int], c: FloatArray, alpha: float) -> Part | None:
    part = family.images_part
    if not any(part.known[position] for position in positions):
        return None
    variance = float(c @ part.covariance[np.ix_(positions, positions)] @ c)
    return Part(math.sqrt(max(0.0, variance)), part.freedom, student_t(part.freedom, alpha))


def _seeds(specs: Sequence[SpecScores], c: FloatArray, alpha: float) -> tuple[Part, bool]:
    covariance, paired = covariance_over_seeds(specs)
    variance = max(0.0, float(c @ covariance @ c))
    freedom = specs[0].count - 1.0
    if not paired:  # Satterthwaite 1946, Welch 1947: ν = (Σv)² / Σ(v²/νᵢ)
        parts = c**2 * np.diag(covariance)
        weighted = float((parts**2 / [spec.count - 1 for spec in specs]).sum())
        freedom = variance**2 / weighted if weighted > 0 else min(spec.count for spec in specs) - 1.0
    return Part(math.sqrt(variance), freedom, student_t(freedom, alpha)), paired
