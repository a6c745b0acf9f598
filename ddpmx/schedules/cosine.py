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

    β_t = 1 − ᾱ_t/ᾱ_{t−1}. Even with beta_min 0 the first β is above 0, because cos² falls at every step.
    """

    s: float = Field(0.008, ge=0)
    """Offset that keeps β from being too small near index 0."""
    beta_min: float = Field(0.0, ge=0, le=1)
    """Lower bound of β. The paper has none; the study uses 1e-4."""
    beta_max: float = Field(0.999, gt=0, le=1)
    """Upper bound of β, which keeps some signal at the last index. The study uses 0.9999."""

    def beta(self) -> Tensor:
        if self.beta_min > self.beta_max:
            raise SpecError(
                f"should be at most beta_max, {self.beta_max:g}, not {self.beta_min:g}", field="beta_min"
            )
        # angle(t) = (t/T + s)/(1 + s)·π/2 for t = 0 … T: float64 [T + 1]
        angle = (
            (torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps + self.s)
            / (1 + self.s)
            * (math.pi / 2)
        )
        before, after = angle[:-1], angle[1:]
        # β_t = 1 − cos²(after)/cos²(before), with cos²a − cos²b = sin(b − a)·sin(b + a) to avoid
        # cancellation: [T]
        beta = torch.sin(after - before) * torch.sin(after + before) / torch.cos(before).square()
        return beta.clamp(self.beta_min, self.beta_max)
