"""How much larger critical values must be when seeds are added one by one and each look is a test.

Alpha spending (Lan & DeMets 1983, doi:10.1093/biomet/70.3.659): up to n of at most N seeds, the probability
of a wrong verdict may be α·(n − 1)/(N − 1). The factors that spend exactly this are simulated, for the
patterns of spreads of `largest_t`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .largest_t import Configuration, seeds_critical, squared_tests
from .scores import FloatArray
from .spread import spread

REPETITIONS = 20_000
"""With up to 4 specs; with more, fewer."""


@lru_cache(maxsize=64)
def look_factors(specs: int, most: int, alpha: float) -> tuple[float, ...]:
    """The factor of the critical values at each number of seeds; entry n is that of n, from 2 to `most`.

    The factors hold for looks at all these numbers, and for any choice of some.
    """
    repetitions = min(REPETITIONS, 4 * REPETITIONS // specs)
    noise = np.random.default_rng(0).normal(size=(repetitions, specs, most))
    patterns = list(Configuration.even(specs, 2).patterns())
    open_still = [np.ones(repetitions, dtype=bool) for _ in patterns]
    factors = [np.inf, np.inf]
    for n in range(2, most + 1):
        critical = float(seeds_critical(Configuration.even(specs, n), alpha)[0, 1])
        largest = [_largest(noise[:, :, :n], pattern) / critical for pattern in patterns]
        wrong = alpha * spent(n, most) * repetitions
        factors.append(max(_threshold(*each, wrong) for each in zip(largest, open_still, strict=True)))
        for still, values in zip(open_still, largest, strict=True):
            still &= values <= factors[n]
    return tuple(factors)


def spent(seeds: int, most: int) -> float:
    """The share of alpha that is spent up to this number of seeds, from 0 at 1 to 1 at `most`."""
    return (seeds - 1) / (most - 1)


def _threshold(values: FloatArray, open_still: NDArray[np.bool_], wrong: float) -> float:
    """The value that lets the repetitions above it, and those closed before, be `wrong` together."""
    more = int(wrong - (len(values) - open_still.sum()))
    if more < 1:
        return float(values[open_still].max())
    return float(np.partition(values[open_still], -more - 1)[-more - 1])


def _largest(noise: FloatArray, pattern: FloatArray) -> FloatArray:
    """The largest test [repetitions] of the pairs of specs with these deviates [repetitions, G, n]."""
    n = noise.shape[2]
    means = noise.mean(axis=2)
    squares = np.maximum(np.square(noise).sum(axis=2) - n * np.square(means), 0) * pattern**2
    freedom = np.full(len(pattern), n - 1.0)
    found = spread(np.sqrt(squares)[..., None], freedom, by_seed=False)
    tests = squared_tests(means * pattern, found.variances / n, freedom, found.in_line)
    return np.asarray(np.sqrt(np.max([tests(i).max(axis=1) for i in range(len(pattern) - 1)], axis=0)))
