"""The network's time input: how table indices become features."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..schedules import Table

TimeInput = Literal["index", "scaled_1000", "log_snr"]

LOG_SNR_BOUND = 30.0
"""Stands in for an infinite log-SNR, which has no sine. In 8-bit images, e^±30 is as good as infinite."""


def embed_time(t: Tensor, table: Table, kind: TimeInput) -> Tensor:
    """The network's time input, float32 [n], for table indices `t` [n], which may be fractional.

    `index` is t itself, `scaled_1000` is t·1000/T, and `log_snr` is the table's log-SNR at t, clamped to ±30.
    """
    if kind == "log_snr":
        t = table.log_snr_at(t.double()).clamp(-LOG_SNR_BOUND, LOG_SNR_BOUND)
    elif kind == "scaled_1000":
        t = t.double() * (1000 / table.timesteps)
    return t.float()


def sinusoidal(t: Tensor, dim: int) -> Tensor:
    """[sin(t·ω), cos(t·ω)], float32 [n, dim], with dim/2 frequencies ω from 1 to 1e-4, evenly spaced in log.

    `dim` is even and at least 4. Vaswani et al. 2017, arXiv:1706.03762, with all sines first as in Ho et al.
    """
    half = dim // 2
    # ω_i = 10000^(−i/(dim/2 − 1)), written this way to round exactly as diffusers does.
    frequency = torch.exp(torch.arange(half, device=t.device) * -math.log(10_000) / (half - 1))  # [dim/2]
    angle = t[:, None] * frequency  # [n, dim/2]
    return torch.cat((angle.sin(), angle.cos()), dim=1)


class TimeEmbedding(nn.Module):
    """t [n] -> features [n, 4·dim]: sinusoidal, linear, activation, linear.

    With `classes`, a learned vector for each label 0 … classes is added. The last label means "no class".
    """

    def __init__(self, dim: int, activation: nn.Module, classes: int | None = None) -> None:
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), activation, nn.Linear(4 * dim, 4 * dim))
        self.label = None if classes is None else nn.Embedding(classes + 1, 4 * dim)

    def forward(self, t: Tensor, labels: Tensor | None = None) -> Tensor:
        dtype = next(self.mlp.parameters()).dtype
        time = cast(Tensor, self.mlp(sinusoidal(t, self.dim).to(dtype)))  # [n, 4·dim]
        if self.label is None and labels is None:
            return time
        if self.label is None or labels is None:
            raise ValueError("labels are required by a network with classes, and not accepted by any other")
        return time + cast(Tensor, self.label(labels))
