"""Critical values of the largest |t| among all pairs of a family, by simulation.

Tukey's idea for intervals that hold together, with the estimator of `spread` in place of one common variance
and numbers of seeds that may differ. Each value depends on the configuration alone (how many specs, how many
seeds) and is the largest of those that several patterns of unequal spreads need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from .scores import FloatArray
from .spread import WIDEST, spread

FEWEST, MOST = 10_000, 40_000
"""Limits of the repetitions at alpha = 0.05; there are more at smaller ones."""
PAIRS = 700_000
"""Pairs that are simulated, within these limits."""
FEWEST_BEYOND = 300
"""Repetitions beyond a critical value, at least: the error of alpha is then below 6 % of it."""


@lru_cache(maxsize=1024)
def seeds_critical(
    freedom: tuple[int, ...], by_seed: bool, alpha: float, repetitions: int | None = None
) -> FloatArray:
    """The critical values [G, G] of |difference of means| / standard error, from the seeds alone.

    `freedom` has the number of seeds less one of each spec. All pairs are within them together in 1 − alpha
    of repetitions, whichever of `_patterns` the spreads have. Where numbers of seeds differ, each pair's
    value is in proportion to what pairs of such numbers need.
    """
    order = np.argsort(freedom, kind="stable")
    sorted_freedom = np.array(freedom, dtype=float)[order]
    count = len(freedom)
    draws = _Draws(sorted_freedom, by_seed, repetitions or _repetitions(count, alpha))
    shape = _shape(draws, sorted_freedom, alpha)
    largest = max(
        float(np.quantile(_largest(draws.tested(pattern), count, shape), 1 - alpha))
        for pattern in _patterns(sorted_freedom)
    )
    critical = np.empty((count, count))
    critical[np.ix_(order, order)] = largest * shape
    critical.setflags(write=False)
    return critical


@lru_cache(maxsize=1024)
def images_critical(specs: int, singles: int, freedom: float, alpha: float) -> float:
    """The critical value of the largest |difference| / standard error of `specs` scores with normal noise.

    Only pairs with at least one of the first `singles` specs count, or all pairs if that is 0. `freedom` is
    that of the covariance, estimated from freedom + 1 draws, or infinite. Independent scores with equal noise
    are simulated, since correlated ones need no larger value (Hayter 1989, doi:10.2307/2289677).
    """
    generator = np.random.default_rng(0)
    repetitions = _repetitions(specs, alpha)
    scores = generator.normal(size=(repetitions, specs))
    if np.isfinite(freedom):
        factor = bartlett(generator, repetitions, specs, int(freedom))
        covariance = factor @ factor.swapaxes(1, 2) / freedom
    else:
        covariance = np.broadcast_to(np.eye(specs), (repetitions, specs, specs))
    diagonal = np.diagonal(covariance, axis1=1, axis2=2)
    largest = np.zeros(repetitions)
    for i in range(min(singles or specs, specs - 1)):
        variance = diagonal[:, i, None] + diagonal[:, i + 1 :] - 2 * covariance[:, i, i + 1 :]
        squares = np.square(scores[:, i, None] - scores[:, i + 1 :]) / variance
        np.maximum(largest, squares.max(axis=1), out=largest)
    return float(np.sqrt(np.quantile(largest, 1 - alpha)))


def bartlett(generator: np.random.Generator, repetitions: int, size: int, freedom: int) -> FloatArray:
    """Factors A [repetitions, size, min(size, freedom)] with A·Aᵀ of Wishart's distribution (Bartlett 1933).

    A has the law of `freedom` independent normal deviates for each of `size` rows, up to a rotation.
    """
    rank = min(size, freedom)
    factor = np.tril(generator.normal(size=(repetitions, size, rank)))
    for column in range(rank):
        factor[:, column, column] = np.sqrt(generator.chisquare(freedom - column, size=repetitions))
    return factor


def _repetitions(specs: int, alpha: float) -> int:
    pairs = max(1, specs * (specs - 1) / 2)
    return int(max(min(max(FEWEST, PAIRS / pairs), MOST), FEWEST_BEYOND / alpha))


def _patterns(freedom: FloatArray) -> Iterator[FloatArray]:
    """Standard deviations [G] that a family may have: equal, or one, half or all but one of the specs wide.

    Specs are in order of their number of seeds, so the wide ones are those with the fewest or the most.
    """
    count = len(freedom)
    yield np.ones(count)
    for wide in {1, count // 2, count - 1} if count > 1 else ():
        pattern = np.ones(count)
        pattern[:wide] = WIDEST
        yield pattern
        if freedom[0] != freedom[-1]:
            yield pattern[::-1]


class _Draws:
    """Normal deviates of one configuration, from which every pattern of spreads is made."""

    def __init__(self, freedom: FloatArray, by_seed: bool, repetitions: int) -> None:
        generator = np.random.default_rng(0)
        self.freedom, self.by_seed = freedom, by_seed
        self.means = generator.normal(size=(repetitions, len(freedom))) / np.sqrt(freedom + 1)
        if by_seed:
            self.deviations = bartlett(generator, repetitions, len(freedom), int(freedom[0]))
        else:
            self.deviations = np.sqrt(generator.chisquare(freedom, size=self.means.shape))[..., None]

    def tested(self, pattern: FloatArray) -> Callable[[int], FloatArray]:
        """The squared t [repetitions, G − 1 − i] of spec i against those after it; 0 out of line."""
        means = self.means * pattern
        found = spread(self.deviations * pattern[:, None], self.freedom, self.by_seed)
        squared_errors = np.where(found.in_line, found.variances / (self.freedom + 1), np.inf)
        return lambda i: (
            np.square(means[:, i, None] - means[:, i + 1 :])
            / (squared_errors[:, i, None] + squared_errors[:, i + 1 :])
        )


def _largest(squares: Callable[[int], FloatArray], count: int, shape: FloatArray) -> FloatArray:
    """The largest |t| / shape of each repetition."""
    largest = (squares(i) / np.square(shape[i, i + 1 :]) for i in range(count - 1))
    return np.asarray(np.sqrt(np.max([part.max(axis=1) for part in largest], axis=0)))


def _shape(draws: _Draws, freedom: FloatArray, alpha: float) -> FloatArray:
    """What pairs need relative to each other [G, G]: the quantile of the |t| of pairs with these numbers of
    seeds, in the pattern that needs most; 1 where all have the same number."""
    count = len(freedom)
    shape = np.ones((count, count))
    if len(set(freedom)) == 1:
        return shape
    kinds: dict[tuple[float, float], list[tuple[int, int]]] = {}
    for i in range(count):
        for k in range(i + 1, count):
            kinds.setdefault((freedom[i], freedom[k]), []).append((i, k))
    needed = dict.fromkeys(kinds, 0.0)
    pairs = count * (count - 1) / 2
    for pattern in _patterns(freedom):
        squares = draws.tested(pattern)
        rows = [squares(i) for i in range(count - 1)]
        for kind, members in kinds.items():
            values = np.concatenate([rows[i][:, k - i - 1] for i, k in members])
            beyond = max(alpha / pairs, 50 / len(values))
            needed[kind] = max(needed[kind], float(np.quantile(values, 1 - beyond)))
    for kind, members in kinds.items():
        for i, k in members:
            shape[i, k] = shape[k, i] = np.sqrt(needed[kind])
    return shape
