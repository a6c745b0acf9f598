"""The scores of a spec's training seeds and the draws behind their intervals: what comparisons start from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """The values behind the intervals of a spec's scores, aligned over specs.

    Column b of two specs with equal kind, B and n is the same random half of the images (and of the noise
    that they start from), or the same real image.
    """

    kind: Literal["halves", "images", "strata"]
    """`halves`: the statistic of each random half; `images`: a value for each image, the score their mean;
    `strata`: the same in order of the images' noise levels, which lie in n equal parts."""
    values: FloatArray
    """[S, B]: a row for each seed that has them, B ≥ 2."""
    n: int | None = None
    """The number of images that were halved, or that the score is the mean of; None for an even number, or
    for as many as there are values."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[0] < 1 or self.values.shape[1] < 2:
            raise ValueError(f"draws have the shape [seeds, draws ≥ 2], not {list(self.values.shape)}")
        if not np.isfinite(self.values).all():
            raise ValueError("draws are finite")

    @property
    def aligned_with(self) -> tuple[str, int, int | None]:
        """Equal for specs whose columns belong together."""
        even = self.kind == "halves" and self.n is not None and self.n % 2 == 0
        return self.kind, self.values.shape[1], None if even else self.n

    def covariance(self, rows: FloatArray) -> FloatArray:
        """The covariance [R, R] of scores with these values [R, B], in rows like those of `values`.

        For strata, that of neighbours: what all images of one noise level have in common is no noise of the
        mean, since each level is drawn from once (von Neumann 1941, doi:10.1214/aoms/1177731677).
        """
        if self.kind == "strata":
            steps = np.diff(rows, axis=1)
            return np.asarray(steps @ steps.T * (self.scale / (2 * steps.shape[1])))
        return np.atleast_2d(np.cov(rows)) * self.scale

    @property
    def scale(self) -> float:
        """What the covariance over the columns is multiplied by to be that of the scores.

        1/n for the mean of n images; m/(n − m) for halves of m = n // 2 images (the delete-d jackknife,
        Shao & Wu 1989), which is 1 for even n.
        """
        if self.kind != "halves":
            return 1 / (self.n or int(self.values.shape[1]))
        return 1.0 if self.n is None else (self.n // 2) / float(self.n - self.n // 2)


@dataclass(frozen=True, eq=False)
class SpecScores:
    """One metric of one spec: a score for each training seed, and what is known of its noise."""

    seeds: tuple[int, ...]
    """The training seeds, all different."""
    values: tuple[float, ...]
    """The score of each seed; repeats of a seed are already averaged."""
    draws: Draws | None = None
    """What the images' part of the noise is computed from."""
    variance: float | None = None
    """The variance of a single score that its interval implies, in squared units of the score. What it has in
    excess of the draws' counts as noise of this spec alone; without draws, all of it does."""
    pooled: bool = True
    """False for a spec whose training was unstable: its spread over seeds says nothing about the others'."""

    def __post_init__(self) -> None:
        if len(self.seeds) != len(self.values) or not self.values:
            raise ValueError(f"{len(self.seeds)} seeds with {len(self.values)} scores")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("the seeds of a spec are all different")
        if not np.isfinite(self.values).all():
            raise ValueError("scores are finite")
        if self.variance is not None and not self.variance >= 0:
            raise ValueError(f"a variance is at least 0, not {self.variance}")

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def count(self) -> int:
        """The number of seeds."""
        return len(self.values)

    @property
    def own_variance(self) -> float | None:
        """The variance of the images' part of the mean score; None where nothing is known about it."""
        if self.draws is None:
            return self.variance
        mean = self.draws.values.mean(axis=0, keepdims=True)
        return float(self.draws.covariance(mean)[0, 0]) + self.excess

    @property
    def excess(self) -> float:
        """The part of `variance` that the draws do not explain, such as a least width of the interval.

        The interval of B halves uses Student's t, whose square exceeds the normal's by (z² + 1)/2ν.
        """
        if self.draws is None or self.variance is None:
            return 0.0
        return max(0.0, self.variance - _implied(self.draws))

    @property
    def of_networks(self) -> SpecScores:
        """The mean over seeds as one score of these trained networks, without the noise of their training."""
        if self.draws is None:
            return SpecScores(self.seeds[:1], (self.mean,), None, self.variance, self.pooled)
        draws = replace(self.draws, values=self.draws.values.mean(axis=0, keepdims=True))
        variance = _implied(draws) + self.excess
        return SpecScores(self.seeds[:1], (self.mean,), draws, variance, self.pooled)


def _implied(draws: Draws) -> float:
    """The variance of a single score that an interval made from the draws implies."""
    freedom = draws.values.shape[1] - 1
    student = 1 + (1.959964**2 + 1) / (4 * freedom) if draws.kind == "halves" else 1.0
    return float(np.diag(draws.covariance(draws.values)).mean()) * student**2


def by_seed(specs: Sequence[SpecScores]) -> FloatArray:
    """The scores [G, n] of specs with the same n seeds, columns in order of the seeds."""
    return np.array(
        [[value for _, value in sorted(zip(spec.seeds, spec.values, strict=True))] for spec in specs]
    )
