"""Grids that are spaced in the noise level: fractional indices, both ends of the table included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from ..schedules import Table
from .grid import register_grid
from .path import index_at


def _spread(table: Table, steps: int, sigma_ve: Callable[[float, float, float], float]) -> Sequence[float]:
    """`steps` indices from T−1 to 0, those between them where `sigma_ve(highest, lowest, share)` says, share in (0, 1).

    An end of infinite log-SNR is one of them, and the others are then spread over the rest. One step starts at T−1.
    """
    if steps == 1:
        return [table.timesteps - 1]
    log_snr = table.log_snr
    top = [] if log_snr[-1].isfinite() else [float(table.timesteps - 1)]
    bottom = [] if log_snr[0].isfinite() else [0.0]
    finite = log_snr[len(bottom) : table.timesteps - len(top)]
    count = steps - len(top) - len(bottom)
    shares = [k / (count - 1) for k in range(count)] if count > 1 else [1.0 if top else 0.0] * count
    ends = {0.0: float(len(bottom) + len(finite) - 1), 1.0: float(len(bottom))}  # as they are, not rounded
    lowest, highest = torch.exp(-finite[[0, -1]] / 2).tolist() if count > 0 else (0.0, 0.0)
    between = (
        ends[s] if s in ends else index_at(table, -2 * math.log(sigma_ve(highest, lowest, s))) for s in shares
    )
    return [*top, *between, *bottom]


@register_grid("karras")
def karras(table: Table, steps: int) -> Sequence[float]:
    """Evenly in sigma_ve^(1/7) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    return _spread(
        table,
        steps,
        lambda high, low, share: (high ** (1 / 7) + share * (low ** (1 / 7) - high ** (1 / 7))) ** 7,
    )


@register_grid("log_snr")
@register_grid("exponential")
def log_snr(table: Table, steps: int) -> Sequence[float]:
    """Evenly in log-SNR, which is log-uniform in sigma_ve (Lu et al. 2022, arXiv:2206.00927)."""
    return _spread(table, steps, lambda high, low, share: high ** (1 - share) * low**share)


@register_grid("beta")
def beta(table: Table, steps: int) -> Sequence[float]:
    """At the quantiles of Beta(0.6, 0.6) (Lee et al. 2024, arXiv:2407.12173), in sigma_ve as diffusers has them."""
    return _spread(table, steps, lambda high, low, share: low + beta_quantile(1 - share, 0.6) * (high - low))


def beta_quantile(p: float, a: float) -> float:
    """The x below which a share `p` in [0, 1] of the symmetric beta distribution Beta(a, a) lies, a in (0, 1]."""
    if p > 0.5:
        return 1 - beta_quantile(1 - p, a)
    scale = math.exp(math.lgamma(2 * a) - 2 * math.lgamma(a))
    low, high = 0.0, 0.5
    while low < (x := (low + high) / 2) < high:
        term, total = x**a, 0.0  # ∫ x^(a−1)·(1−x)^(a−1), by the binomial series of the second factor
        for n in range(1, 60):
            total += term / (a + n - 1)
            term *= x * (n - a) / n
        low, high = (x, high) if scale * total < p else (low, x)
    return x
