"""A Gaussian mixture in one dimension. Its exact flow is known, so a sampler's order can be measured."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..rows import Row
from ..samplers import Sampler
from ..sampling.loop import sample
from ..schedules import Table

CENTRES, STD = torch.tensor([-0.7, 0.1, 0.6], dtype=torch.float64), 0.3
"""Means and standard deviation of the three Gaussians."""
LOWEST = 0.05
"""The smallest sigma; the error is measured close to it."""


def exploding(highest: float, count: int, even_in: str = "log_snr") -> Table:
    """A table with signal 1 and `count` noise levels from LOWEST to `highest`, even in log-SNR or sigma."""
    if even_in == "log_snr":
        sigma = torch.logspace(math.log10(LOWEST), math.log10(highest), count, dtype=torch.float64)
    else:
        sigma = torch.linspace(LOWEST, highest, count, dtype=torch.float64)
    return Table(
        torch.ones_like(sigma), sigma, lambda log_snr: (torch.ones_like(log_snr), torch.exp(-log_snr / 2))
    )


def denoiser(table: Table) -> Callable[[Tensor, Tensor], Tensor]:
    """The ideal network for x_start prediction at signal 1: E[x_0 | x_t] for equally weighted Gaussians."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        # E[x_0 | x_t] = Σ_k p(k | x_t)·(μ_k + s²/(s² + σ²)·(x_t − μ_k)),
        # with p(k | x_t) ∝ N(x_t; μ_k, s² + σ²)
        variance = table.at(t[:1])[1].square() + STD**2
        posterior = torch.softmax(-((x[..., None] - CENTRES) ** 2) / (2 * variance), dim=-1)  # [..., 3]
        mean = CENTRES + STD**2 / variance * (x[..., None] - CENTRES)  # [..., 3]
        return (posterior * mean).sum(-1)

    return denoise


def quantile(p: Tensor, sigma: float) -> Tensor:
    """The x with P(x_t < x) = p, by bisection. In one dimension the flow keeps p: this is its solution."""
    std = math.hypot(sigma, STD)
    low, high = torch.full_like(p, -10 * std), torch.full_like(p, 10 * std)
    for _ in range(80):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle[..., None] - CENTRES) / std).mean(-1) < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def order_of_convergence(
    sampler: Sampler, highest: float = 160.0, steps: tuple[int, int] = (160, 320), even_in: str = "log_snr"
) -> float:
    """The slope of log(median error) over log(steps), for a sampler that adds no noise.

    The error is measured three steps before the last point, because unipc lowers its order in the last steps.
    """
    p = torch.linspace(0.03, 0.97, 31, dtype=torch.float64)[:, None]
    errors = []
    for count in steps:
        table = exploding(highest, count + 1, even_in)
        plan = sampler.plan(table, "x_start", clip=None, timesteps=[float(t) for t in range(count, -1, -1)])
        states: list[Tensor] = []

        def keep(index: int, row: Row, x: Tensor, m: Tensor, states: list[Tensor] = states) -> None:
            states.append(x)

        x = quantile(p, highest)
        sample(denoiser(table), plan, x.shape, x_init=x, dtype=torch.float64, callback=keep)
        before = next(i for i, row in enumerate(plan) if row.t == 3)
        errors.append((states[before - 1] - quantile(p, table.sigma[3].item())).abs().median().item())
    return math.log(errors[0] / errors[1]) / math.log(steps[1] / steps[0])
