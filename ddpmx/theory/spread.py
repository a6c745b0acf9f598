"""The spread of a score over training seeds, estimated for each spec with the help of the others.

With two or three seeds, a spec's own variance is nearly unknown. Each is therefore moved towards the variance
pooled over all specs, as if that were worth PRIOR more seeds (Smyth 2004, doi:10.2202/1544-6115.1027, with a
fixed prior). A spec whose spread is out of line with the others' takes no part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

from .scores import FloatArray

PRIOR = 2.0
"""Degrees of freedom that the pooled variance counts for; near the best for 2 to 8 seeds."""
WIDEST = 5.0
"""How many times as wide as another a spec's spread may be: as far as critical values are simulated."""
LEVEL = 0.05
"""Probability that one spec of a family, of WIDEST times the others' spread, is found out of line."""


class Spread(NamedTuple):
    """Variances of single scores over seeds; the leading axes, if any, are repetitions."""

    variances: FloatArray
    """[…, G], each moved towards the pooled one."""
    pooled: FloatArray
    """[…], over the specs that are in line."""
    in_line: NDArray[np.bool_]
    """bool [..., G]; the variances of the others are not to be used."""


def spread(deviations: FloatArray, freedom: FloatArray, by_seed: bool) -> Spread:
    """The variances of G specs from the deviations [..., G, K] of scores from their spec's mean.

    `freedom` [G] is the number of seeds less one, at least 1. With `by_seed`, the columns are seeds that all
    specs share: what a seed does to all of them is removed, and takes 1/G of the degrees of freedom.
    """
    squares = np.einsum("...gk,...gk->...g", deviations, deviations)
    in_line = _in_line(squares, freedom)
    if by_seed:
        squares = _without_seed_effects(deviations, squares, in_line)
    weight = freedom * in_line
    pooled = (squares * in_line).sum(axis=-1) / weight.sum(axis=-1)
    # Smyth 2004: (d₀·s₀² + d·s²)/(d₀ + d)
    return Spread((PRIOR * pooled[..., None] + squares) / (PRIOR + freedom), pooled, in_line)


def _in_line(squares: FloatArray, freedom: FloatArray) -> NDArray[np.bool_]:
    """bool [..., G]: whether each spec's variance is not significantly above WIDEST² times the others'."""
    count = len(freedom)
    if count < 2:
        return np.ones(squares.shape, dtype=bool)
    others = freedom.sum() - freedom
    limit = WIDEST**2 * fdtri(freedom, others, 1 - LEVEL / count)
    rest = (squares.sum(axis=-1, keepdims=True) - squares) / others
    in_line: NDArray[np.bool_] = (squares / freedom <= limit * rest) | (squares == 0)
    return in_line


def _without_seed_effects(
    deviations: FloatArray, squares: FloatArray, in_line: NDArray[np.bool_]
) -> FloatArray:
    """The sums of squares [..., G] of the residuals of spec + seed, times G/(G − 1) to have `freedom`."""
    count = np.maximum(in_line.sum(axis=-1), 1)[..., None]
    effects = np.einsum("...g,...gk->...k", in_line / count, deviations)
    inner = np.einsum("...gk,...k->...g", deviations, effects)
    residuals = squares - 2 * inner + np.square(effects).sum(axis=-1)[..., None]
    return np.asarray(np.maximum(residuals, 0) * count / np.maximum(count - 1, 1))


def freedom_of_pair(freedom: FloatArray, i: int, k: int, shares: tuple[float, float], by_seed: bool) -> float:
    """The degrees of freedom of the sum of the variances of specs i and k, each times its share.

    By Satterthwaite's rule, for equal spreads.
    """
    total = float(freedom.sum()) * (1 - 1 / len(freedom) if by_seed else 1)
    prior = [share * PRIOR / (PRIOR + freedom[spec]) for share, spec in zip(shares, (i, k), strict=True)]
    own = [share - part for share, part in zip(shares, prior, strict=True)]
    # var(Σ a·s₀² + b·s²) in units of 2σ⁴, with cov(s₀², s²) = var(s₀²) = 1/total
    common = (sum(prior) ** 2 + 2 * sum(prior) * sum(own)) / total
    alone = sum(part**2 / freedom[spec] for part, spec in zip(own, (i, k), strict=True))
    return float(sum(shares) ** 2 / (common + alone))
