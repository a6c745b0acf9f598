"""Data that are N(mean, std²) in every pixel: the one case where the ideal denoiser is a formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..predictions import Prediction
from ..schedules import Table


def denoiser(
    table: Table, prediction: Prediction, mean: float = 0.0, std: float = 0.5
) -> Callable[[Tensor, Tensor], Tensor]:
    """What a perfect network outputs: E[x_0 | x_t] as the prediction wants it, in float64."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        signal, sigma = (c.view(-1, *[1] * (x.ndim - 1)) for c in table.at(t.double()))
        x_start = mean + signal * std**2 / ((signal * std) ** 2 + sigma**2) * (x - signal * mean)
        target_x, target_eps = prediction.target(signal, sigma)
        return (target_x * x_start + target_eps * (x - signal * x_start) / sigma).to(x.dtype)

    return denoise
