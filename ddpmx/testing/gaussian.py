"""Gaussian data, N(mean, std²) in every pixel, for which the ideal denoiser has a simple formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..predictions import Prediction
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
