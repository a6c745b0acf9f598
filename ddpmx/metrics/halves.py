"""Intervals and floors from random halves of the images that there are.

A statistic of a random half of n images, drawn without replacement, varies around that of all n as much as that of n new
images does around its mean: for a mean, var = s²/m·(1 − m/n), which is s²/n at m = n/2 (the delete-half jackknife, Shao & Wu
1989, doi:10.1214/aos/1176347263). A bootstrap's resamples hold images twice, which a Fréchet distance, a kernel without its
diagonal and nearest neighbours mistake for structure. Only the spread is taken, never the level, so the bias that a statistic
has at n/2 does no harm. Where a model is as good as real images the interval is too wide, up to twice, rather than too narrow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COUNT = 200
"""Halves whose spread is taken, where one costs milliseconds."""
NORMAL_95 = 1.959964


def halves(n: int, count: int = COUNT) -> Tensor:
    """bool [count, n], n // 2 of each row set: the same ones each time."""
    order = torch.rand(count, n, generator=torch.Generator().manual_seed(n)).argsort(dim=1)
    return torch.zeros(count, n, dtype=torch.bool).scatter_(1, order[:, : n // 2], True)


def interval(
    value: float,
    of_halves: Tensor,
    n: int,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    least: float = 0.0,
    chance: float = 0.0,
) -> tuple[float, float]:
    """value ± t·(standard deviation over the halves of n images), at least ± `least`, within [low, high].

    `chance` is another, independent standard deviation: of choices at random in the value itself. t: Student's
    97.5 % quantile, z + (z³ + z)/4ν (Abramowitz & Stegun 26.7.5).
    """
    degrees = len(of_halves) - 1
    student = NORMAL_95 + (NORMAL_95**3 + NORMAL_95) / (4 * degrees)
    spread = float(of_halves.double().std()) * math.sqrt((n // 2) / (n - n // 2))
    width = max(least, student * math.hypot(spread, chance))
    return max(low, value - width), min(high, value + width)


def real_choice(real: Tensor, n: int) -> Tensor:
    """n of the real images, or all where there are fewer: the same ones each time."""
    return real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:n]]


def real_parts(real: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n of the real images (half of them, where n is more) and the others, disjoint: the same ones each time."""
    return real_choice(real, len(real)).tensor_split([min(n, len(real) // 2)])  # type: ignore[return-value]
