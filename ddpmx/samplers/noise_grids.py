"""Grids that are spaced by noise level: fractional indices, with both ends of the table included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..schedules import Table
from .grid import register_grid
from .path import index_at


def _spread(table: Table, steps: int, sigma_ve: Callable[[float, float, float], float]) -> Sequence[float]:
    """`steps` indices from T−1 to 0, spaced by sigma/signal.

    `sigma_ve(highest, lowest, fraction)` is the sigma/signal a fraction in (0, 1) of the way from the
    noisiest end. An end with infinite log-SNR is one of the indices, and the others are spread over the
    finite part. A single step starts at T−1.
    """
    if steps == 1:
        return [table.timesteps - 1]
    log_snr = table.log_snr
    top = [] if log_snr[-1].isfinite() else [float(table.timesteps - 1)]
    bottom = [] if log_snr[0].isfinite() else [0.0]
    finite = log_snr[len(bottom) : table.timesteps - len(top)]
    count = steps - len(top) - len(bottom)
    fractions = [k / (count - 1) for k in range(count)] if count > 1 else [1.0 if top else 0.0] * count
    ends = {0.0: float(len(bottom) + len(finite) - 1), 1.0: float(len(bottom))}  # exact, without rounding
    lowest, highest = torch.exp(-finite[[0, -1]] / 2).tolist() if count > 0 else (0.0, 0.0)
    between = (
        ends[f] if f in ends else index_at(table, -2 * math.log(sigma_ve(highest, lowest, f)))
        for f in fractions
    )
    return [*top, *between, *bottom]


@register_grid("karras")
def karras(table: Table, steps: int) -> Sequence[float]:
    """Evenly spaced in sigma_ve^(1/7) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    return _spread(
        table,
        steps,
        lambda high, low, fraction: (high ** (1 / 7) + fraction * (low ** (1 / 7) - high ** (1 / 7))) ** 7,
    )


@register_grid("log_snr")
@register_grid("exponential")
def log_snr(table: Table, steps: int) -> Sequence[float]:
    """Evenly spaced in log-SNR, and so in log(sigma_ve) (Lu et al. 2022, arXiv:2206.00927)."""
    return _spread(table, steps, lambda high, low, fraction: high ** (1 - fraction) * low**fraction)


@register_grid("beta")
def beta(table: Table, steps: int) -> Sequence[float]:
    """At quantiles of Beta(0.6, 0.6) in sigma_ve, as in diffusers (Lee et al. 2024, arXiv:2407.12173)."""
    return _spread(
        table, steps, lambda high, low, fraction: low + beta_quantile(1 - fraction, 0.6) * (high - low)
    )


def beta_quantile(p: float, a: float) -> float:
    """The p-quantile of the symmetric beta distribution Beta(a, a), for p in [0, 1] and a in (0, 1]."""
    if p > 0.5:
        return 1 - beta_quantile(1 - p, a)
    scale = math.exp(math.lgamma(2 * a) - 2 * math.lgamma(a))
    low, high = 0.0, 0.5
    while low < (x := (low + high) / 2) < high:
        term, total = x**a, 0.0  # ∫ x^(a−1)·(1−x)^(a−1) dx, by the binomial series of (1−x)^(a−1)
        for n in range(1, 60):
            total += term / (a + n - 1)
            term *= x * (n - a) / n
        low, high = (x, high) if scale * total < p else (low, x)
    return x
