"""The cosine schedule (Nichol & Dhariwal 2021)."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from ..errors import SpecError
from .base import Schedule


@SCHEDULES.register("cosine", paper="Nichol & Dhariwal 2021, arXiv:2102.09672")
class Cosine(Schedule):
    """ᾱ follows cos²((t/T + s)/(1 + s)·π/2), with β clipped to [beta_min, beta_max].

    The first β is small but never 0, with beta_min 0 too: cos² falls in every step.
    """

    s: float = Field(0.008, ge=0)
    """Offset that keeps the first β from being too small."""
    beta_min: float = Field(0.0, ge=0, le=1)
    """Lower bound of β. The paper has none; the study used 1e-4."""
    beta_max: float = Field(0.999, gt=0, le=1)
    """Upper bound of β, which keeps some signal at the last index. The study used 0.9999."""

    def beta(self) -> Tensor:
        if self.beta_min > self.beta_max:
            raise SpecError(
                f"should be at most beta_max, {self.beta_max:g}, not {self.beta_min:g}", field="beta_min"
            )
        angle = (
            (torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps + self.s)
            / (1 + self.s)
            * (math.pi / 2)
        )
        before, after = angle[:-1], angle[1:]
        # 1 − cos²(after)/cos²(before), by cos²a − cos²b = sin(b − a)·sin(b + a): nothing cancels
        beta = torch.sin(after - before) * torch.sin(after + before) / torch.cos(before).square()
        return beta.clamp(self.beta_min, self.beta_max)
