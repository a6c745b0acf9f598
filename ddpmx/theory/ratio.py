"""Intervals of the ratio of two specs' mean scores: the ratios that the test of a contrast does not exclude.

E. C. Fieller 1954, *Some problems in interval estimation*, Journal of the Royal Statistical Society B 16.
"""

from __future__ import annotations

import numpy as np

from .contrasts import covariance_over_seeds
from .differences import Difference, Family
from .scores import FloatArray

Ends = tuple[float | None, float | None]
"""(low, high); None where the interval has no end."""


def ratio_interval(family: Family, i: int, k: int, difference: Difference, by: float = 1.0) -> Ends:
    """The interval of the mean of spec i over that of spec k, both positive.

    `difference` is i − by·k: of a contrast, or of the family's pair with `by` 1. Its critical values are
    used for all ratios, so that an end of the interval lies between `by` and the ratio exactly if the
    difference is significant.
    """
    mean_i, mean_k = family.specs[i].mean, family.specs[k].mean
    noise = noise_of(family, i, k, difference, is_pair=by == 1)
    # (x − ρ·y)² ≤ Var(x) − 2ρ·Cov + ρ²·Var(y), all variances times the square of the critical value
    roots = np.roots([mean_k**2 - noise[1, 1], -2 * (mean_i * mean_k - noise[0, 1]), mean_i**2 - noise[0, 0]])
    ends = roots[np.isreal(roots)].real
    ratio = mean_i / mean_k
    if not noise.any() or not len(ends):
        return (ratio, ratio) if not noise.any() else (None, None)
    low = max((float(end) for end in ends if end <= ratio), default=None)
    high = min((float(end) for end in ends if end >= ratio), default=None)
    # Where neither mean is known to differ from 0, the set of ratios has a gap that need not contain `by`.
    significant = difference.is_significant
    if low is not None and low > by and not significant:
        low = None
    if high is not None and high < by and not significant:
        high = None
    return (None if low is None else max(low, 0.0)), high


def noise_of(family: Family, i: int, k: int, difference: Difference, is_pair: bool = True) -> FloatArray:
    """The covariance [2, 2] of two means, each part times the square of its critical value.

    With c = (1, −1), or (1, −by) for a contrast, √(cᵀ·noise·c) is half the width of the interval.
    """
    noise = np.zeros((2, 2))
    if difference.images is not None:
        part = family.images_part.covariance[np.ix_((i, k), (i, k))]
        noise += difference.images.critical**2 * part
    if difference.seeds is not None:
        specs, part_of = [family.specs[i], family.specs[k]], family.seeds_part
        if is_pair:
            variance = part_of.own if difference.welch else part_of.variance
            covariance = np.diag([variance(each) / family.specs[each].count for each in (i, k)])
        else:
            covariance = covariance_over_seeds(specs)[0]
        noise += difference.seeds.critical**2 * covariance
    return noise
