"""Uniform numbers bent towards the middle or the ends of (0, 1)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import Uneven, boundaries

HALVINGS = 53  # as many as float64 has bits


@TIMES.register("mode", paper="Esser et al. 2024, arXiv:2403.03206, eq. 20")
class Mode(Uneven):
    """t = 1 − u − scale·(cos²(πu/2) − 1 + u): most draws in the middle (scale above 0) or at the ends, and some everywhere.

    The distribution is symmetric, so u is mirrored here, by which small u are small t: t = u + scale·(u − sin²(πu/2)).
    """

    scale: float = Field(1.29, ge=-1, le=2 / (math.pi - 2))
    """0 is uniform; −1 … 2/(π − 2) is where t grows with u."""

    def quantile(self, u: Tensor) -> Tensor:
        """The time t in [0, 1] below which a share u of the draws is."""
        return u + self.scale * (u - (u * (math.pi / 2)).sin().square())

    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (self.quantile(u) * table.timesteps).long().clamp(0, table.timesteps - 1)

    def cdf(self, table: Table) -> Tensor:
        t = boundaries(table)
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(HALVINGS):  # the quantile has no inverse in closed form
            middle = (low + high) / 2
            below = self.quantile(middle) < t
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        high[0], high[-1] = 0.0, 1.0  # at scale −1 the quantile is flat there
        return high


@TIMES.register("cosmap", paper="Esser et al. 2024, arXiv:2403.03206, eq. 21")
class CosMap(Uneven):
    """t = 1 − 1/(tan(πu/2) + 1), of density 2/(π − 2πt + 2πt²): the log-SNRs of a cosine schedule, on a straight flow."""

    def cdf(self, table: Table) -> Tensor:
        t = boundaries(table)
        return torch.atan2(t, 1 - t) * (2 / math.pi)
