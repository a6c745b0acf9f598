"""Intervals from random halves of the generated images, and floors from disjoint parts of the real ones.

A statistic of a random half of n images, drawn without replacement, varies around that of all n as much as
that of n new images does around its mean. For a mean, var = s²/m·(1 − m/n), which is s²/n at m = n/2 (the
delete-half jackknife, Shao & Wu 1989, doi:10.1214/aos/1176347263). A bootstrap would not do: its resamples
contain images twice, which a Fréchet distance, a kernel without its diagonal and nearest neighbours mistake
for structure. Only the spread of the halves is used, never their level, so a statistic's bias at n/2 does no
harm. For a model as good as real images the interval is too wide, by up to a factor of 2, rather than too
narrow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COUNT = 200
"""Number of halves, for a statistic that takes milliseconds."""
NORMAL_95 = 1.959964
"""The 97.5 % quantile of the normal distribution."""


def halves(n: int, count: int = COUNT) -> Tensor:
    """bool [count, n] with n // 2 entries of each row true; always the same for one n."""
    order = torch.rand(count, n, generator=torch.Generator().manual_seed(n)).argsort(dim=1)
    return torch.zeros(count, n, dtype=torch.bool).scatter_(1, order[:, : n // 2], True)


def interval(
    value: float,
    half_values: Tensor,
    n: int,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    minimum: float = 0.0,
    extra: float = 0.0,
) -> tuple[float, float]:
    """The 95 % interval value ± t·(standard deviation over the halves of n images), within [low, high].

    `minimum` is the smallest half-width. `extra` is another, independent standard deviation, for random
    choices within the value itself. t is Student's 97.5 % quantile z + (z³ + z)/4ν (Abramowitz & Stegun
    26.7.5).
    """
    degrees = len(half_values) - 1
    # t = z + (z³ + z)/4ν
    student = NORMAL_95 + (NORMAL_95**3 + NORMAL_95) / (4 * degrees)
    # m/(n − m) is 1 for an even n
    spread = float(half_values.double().std()) * math.sqrt((n // 2) / (n - n // 2))
    width = max(minimum, student * math.hypot(spread, extra))
    return max(low, value - width), min(high, value + width)


def real_subset(real: Tensor, n: int) -> Tensor:
    """n of the real images in random order, or all if there are fewer; always the same ones."""
    return real[torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[:n]]


def real_parts(real: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """n of the real images (at most half of them) and all others, in random order; always the same ones."""
    return real_subset(real, len(real)).tensor_split([min(n, len(real) // 2)])  # type: ignore[return-value]
