"""Uniform numbers warped towards the middle or the ends of (0, 1)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import NonUniform, boundaries

HALVINGS = 53  # steps of the bisection: the bits of a float64 significand


@TIMES.register("mode", paper="Esser et al. 2024, arXiv:2403.03206, eq. 20")
class Mode(NonUniform):
    """t = 1 − u − scale·(cos²(πu/2) − 1 + u), which favours the middle (scale above 0) or the ends (below 0).

    Every timestep is drawn sometimes. The distribution is symmetric, so the code mirrors u, and t then grows
    with u::

        t = u + scale·(u − sin²(πu/2))
    """

    scale: float = Field(1.29, ge=-1, le=2 / (math.pi - 2))
    """0 is uniform. The range −1 … 2/(π − 2) is where t grows with u."""

    def quantile(self, u: Tensor) -> Tensor:
        """t(u): the time in [0, 1] below which a fraction u of the draws lies."""
        # t = u + scale·(u − sin²(πu/2))
        return u + self.scale * (u - (u * (math.pi / 2)).sin().square())

    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (self.quantile(u) * table.timesteps).long().clamp(0, table.timesteps - 1)

    def cdf(self, table: Table) -> Tensor:
        t = boundaries(table)
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(HALVINGS):  # t(u) has no closed-form inverse
            middle = (low + high) / 2
            below = self.quantile(middle) < t
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        high[0], high[-1] = 0.0, 1.0  # exactly, because t(u) is flat there at scale −1
        return high


@TIMES.register("cosmap", paper="Esser et al. 2024, arXiv:2403.03206, eq. 21")
class CosMap(NonUniform):
    """t = 1 − 1/(tan(πu/2) + 1), which gives rectified flow the log-SNRs of a cosine schedule.

    Its density is 2/(π − 2πt + 2πt²).
    """

    def cdf(self, table: Table) -> Tensor:
        t = boundaries(table)
        # u(t) = 2/π·arctan(t/(1 − t))
        return torch.atan2(t, 1 - t) * (2 / math.pi)
