"""The steps of the objective around the network: noise the images, scale its input, weigh its error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from .. import ops
from ..ops import Noise
from .coefficients import Coefficients


@dataclass(frozen=True, slots=True)
class Norm:
    """The norm of the error."""

    norm: Literal["l1", "l2", "huber"] = "l2"
    """Absolute, squared, or Huber's."""
    delta: float = 1.0
    """Error at which `huber` changes from quadratic to linear."""


def noised(c: Coefficients, x_start: Tensor, t: Tensor, noise: Noise) -> tuple[Tensor, Noise]:
    """x_t of images [b, …] at indices t [b], and its ε.

    ε is then kept in memory for the loss, except on a GPU, where generating it again is cheaper than reading
    it. All tensors are on the device of the coefficients.
    """
    if noise.given is None and x_start.device.type != "cuda":
        noise = replace(noise, given=ops.normal(noise=noise, shape=x_start.shape[1:]))
    signal, sigma = c.signal[t], c.sigma[t]
    if x_start.dtype != torch.float64:
        signal, sigma = signal.float(), sigma.float()
    # x_t = signal·x_0 + sigma·ε
    return ops.add_noise(x_start, signal, sigma, noise=noise), noise


def scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    """The network's input for x [n, …]: x times the prediction's `input_scale` [n], if it has one."""
    return x if scale is None else x * scale.to(x).view(-1, *[1] * (x.ndim - 1))


def weighted_loss(
    c: Coefficients, output: Tensor, x_start: Tensor, t: Tensor, noise: Noise, norm: Norm
) -> Tensor:
    """The weighted loss of each image for the network's output, float32 [b], without importance."""
    return ops.weighted_loss(
        output,
        x_start,
        c.target_x[t],
        c.target_eps[t],
        c.weight[t],
        norm=norm.norm,
        delta=norm.delta,
        noise=noise,
    )
