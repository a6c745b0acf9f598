"""Gaussian data, N(mean, std²) in every pixel, for which the ideal denoiser has a simple formula."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..predictions import Prediction
from ..rows import Plan
from ..samplers import Moments, Sampler
from ..samplers.moments import Gamma
from ..schedules import Table


def denoiser(
    table: Table, prediction: Prediction, mean: float = 0.0, std: float = 0.5
) -> Callable[[Tensor, Tensor], Tensor]:
    """The ideal network: E[x_0 | x_t], converted to the prediction's target, computed in float64."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = (c.view(-1, *[1] * (x.ndim - 1)) for c in table.at(t.double()))
        # E[x_0 | x_t] = μ + α·s²/(α²·s² + σ²)·(x_t − α·μ), for x_0 ~ N(μ, s²) and x_t = α·x_0 + σ·ε
        x_start = mean + signal * std**2 / ((signal * std) ** 2 + sigma**2) * (x - signal * mean)
        # target_x·x_0 + target_eps·ε, with ε = (x_t − α·x_0)/σ
        target_x, target_eps = prediction.target(signal, sigma)
        return (target_x * x_start + target_eps * (x - signal * x_start) / sigma).to(x.dtype)

    return denoise


def planned(sampler: Sampler, table: Table, prediction: Prediction, std: float = 0.5) -> Plan:
    """The sampler's plan for the ideal network, with that network's moments if the sampler needs them."""
    plan = sampler.plan(table, prediction)
    if not plan.lacks_moments:
        return plan
    indices = [row.t for row in plan if row.evaluates]
    signal, sigma = table.at(torch.tensor(indices, dtype=torch.float64))
    # ε̂ = sigma·(x_t − α·μ)/(α²·s² + σ²), whose mean square is σ²/(α²·s² + σ²)
    gamma = sigma.square() / ((signal * std).square() + sigma.square())
    gammas = {t: Gamma(value, 0.0) for t, value in zip(indices, gamma.tolist(), strict=True)}
    return sampler.plan(table, prediction, moments=Moments(1, std**2, gammas))
