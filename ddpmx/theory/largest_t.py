"""Critical values of the largest |t| among all pairs of a family, by simulation.

Tukey's idea for intervals that hold together, with the estimator of `spread` in place of one common variance
and numbers of seeds that may differ. Each value depends on the configuration alone and is the largest of
those that several patterns of unequal spreads need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .scores import FloatArray
from .spread import WIDEST, spread
from .welch import EXTRA, inverse_squares

FEWEST, MOST = 10_000, 40_000
"""Limits of the repetitions at alpha = 0.05; there are more at smaller ones."""
PAIRS = 700_000
"""Pairs that are simulated, within these limits."""
FEWEST_BEYOND = 300
"""Repetitions beyond a critical value, at least: the error of alpha is then below 6 % of it."""


@dataclass(frozen=True)
class Configuration:
    """All that the critical values of the seeds' part depend on."""

    freedom: tuple[int, ...]
    """The number of seeds less one of each spec, at least 1."""
    octaves: tuple[int, ...] = ()
    """log2 of the unit of each spec's scores, where spreads are relative to it; all 0 if empty."""
    by_seed: bool = False
    """Whether what a seed does to all specs is removed, as in `spread`."""

    @classmethod
    def even(cls, specs: int, seeds: int, by_seed: bool = False) -> Configuration:
        """Specs with the same number of seeds and the same unit."""
        return cls((seeds - 1,) * specs, by_seed=by_seed)

    @property
    def units(self) -> FloatArray:
        """[G]."""
        return np.exp2(self.octaves) if self.octaves else np.ones(len(self.freedom))

    @property
    def kinds(self) -> list[tuple[int, float]]:
        """Equal for specs that can be exchanged."""
        return list(zip(self.freedom, self.units.tolist(), strict=True))

    def patterns(self) -> Iterator[FloatArray]:
        """Standard deviations [G] over seeds that specs may have: equal, or one or half of them wide.

        The wide one is of each kind in turn, and the wide half those with the fewest or the most seeds, and
        those with the largest or smallest unit.
        """
        count, kinds = len(self.freedom), self.kinds
        orders = [sorted(range(count), key=lambda i: (kinds[i][0], -kinds[i][1]))]
        if len(set(kinds)) > 1:
            orders.append(sorted(range(count), key=lambda i: (-kinds[i][1], kinds[i][0])))
            orders += [order[::-1] for order in orders]
        wide = {(), *((kinds.index(kind),) for kind in set(kinds))}
        wide |= {tuple(sorted(order[: count // 2])) for order in orders}
        for each in sorted(wide):
            pattern = np.ones(count)
            pattern[list(each)] = WIDEST
            yield pattern


@lru_cache(maxsize=1024)
def seeds_critical(configuration: Configuration, alpha: float, repetitions: int | None = None) -> FloatArray:
    """The critical values [G, G] of |difference of means| / standard error / `welch_quantile`.

    All pairs are within them together in 1 − alpha of repetitions of the seeds' noise, whichever of the
    `patterns` the spreads have. Where numbers of seeds or units differ, each pair's value is in proportion to
    what such pairs need.
    """
    count = len(configuration.freedom)
    repetitions = repetitions or _repetitions(count, alpha)
    patterns = list(configuration.patterns())
    shape = _shape(_Draws(configuration, repetitions // 4), patterns, alpha)
    draws = _Draws(configuration, repetitions)
    critical = shape * max(
        float(np.quantile(_largest(draws.tested(pattern), shape), 1 - alpha)) for pattern in patterns
    )
    critical.setflags(write=False)
    return critical


@lru_cache(maxsize=1024)
def images_critical(specs: int, singles: int, freedom: float, alpha: float) -> float:
    """The critical value of the largest |difference| / standard error of `specs` scores with normal noise.

    Only pairs with at least one of the first `singles` specs count, or all pairs if that is 0. `freedom` is
    that of the covariance, estimated from freedom + 1 draws, or infinite. Independent scores with equal noise
    are simulated: that correlated ones need no larger value is proven for three scores and conjectured for
    more (Hayter 1989, doi:10.2307/2289677).
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


class _Draws:
    """Normal deviates of one configuration, from which every pattern of spreads is made."""

    def __init__(self, configuration: Configuration, repetitions: int) -> None:
        generator = np.random.default_rng(0)
        self.configuration, self.freedom = configuration, np.array(configuration.freedom, dtype=float)
        self.means = generator.normal(size=(repetitions, len(self.freedom))) / np.sqrt(self.freedom + 1)
        if configuration.by_seed:
            self.deviations = bartlett(generator, repetitions, len(self.freedom), configuration.freedom[0])
        else:
            self.deviations = np.sqrt(generator.chisquare(self.freedom, size=self.means.shape))[..., None]

    def tested(self, pattern: FloatArray) -> Callable[[int], FloatArray]:
        """The square of t / `welch_quantile` of spec i and those after it [repetitions, G − 1 − i]."""
        units = self.configuration.units
        found = spread(self.deviations * pattern[:, None], self.freedom, self.configuration.by_seed)
        variances = found.variances * units**2 / (self.freedom + 1)
        return squared_tests(self.means * pattern * units, variances, self.freedom, found.in_line)


def squared_tests(
    means: FloatArray, variances: FloatArray, freedom: FloatArray, in_line: NDArray[np.bool_]
) -> Callable[[int], FloatArray]:
    """A function of i: the squares [N, G − 1 − i] of t / `welch_quantile` of spec i and those after it.

    From means [N, G] and their variances; 0 for pairs with a spec that is not `in_line`.
    """

    weighted = variances * variances / (freedom + EXTRA)
    out = None if in_line.all() else ~in_line

    def of(i: int) -> FloatArray:
        own, others = slice(i, i + 1), slice(i + 1, None)
        total = variances[:, own] + variances[:, others]
        tests = inverse_squares(total, weighted[:, own], weighted[:, others])
        tests *= np.square(means[:, own] - means[:, others])
        tests /= total
        if out is not None:
            tests[out[:, own] | out[:, others]] = 0
        return tests

    return of


def _largest(squares: Callable[[int], FloatArray], shape: FloatArray) -> FloatArray:
    """The largest test / shape of each repetition."""
    largest = (squares(i) / np.square(shape[i, i + 1 :]) for i in range(len(shape) - 1))
    return np.asarray(np.sqrt(np.max([part.max(axis=1) for part in largest], axis=0)))


def _shape(draws: _Draws, patterns: list[FloatArray], alpha: float) -> FloatArray:
    """What pairs need relative to each other [G, G], 1 where all specs are of one kind.

    The quantile of the tests of pairs of two kinds, in the pattern that needs most.
    """
    kinds = draws.configuration.kinds
    count = len(kinds)
    shape = np.ones((count, count))
    if len(set(kinds)) == 1:
        return shape
    pairs: dict[frozenset[tuple[int, float]], list[tuple[int, int]]] = {}
    for i, k in combinations(range(count), 2):
        pairs.setdefault(frozenset((kinds[i], kinds[k])), []).append((i, k))
    needed = dict.fromkeys(pairs, 0.0)
    for pattern in patterns:
        squares = draws.tested(pattern)
        rows = [squares(i) for i in range(count - 1)]
        for both, members in pairs.items():
            values = np.concatenate([rows[i][:, k - i - 1] for i, k in members])
            beyond = max(2 * alpha / (count * (count - 1)), 50 / len(values))
            needed[both] = max(needed[both], float(np.quantile(values, 1 - beyond)))
    for both, members in pairs.items():
        for i, k in members:
            shape[i, k] = shape[k, i] = np.sqrt(needed[both])
    return shape
