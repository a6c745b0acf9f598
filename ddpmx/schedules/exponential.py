"""ᾱ that decays exponentially: every step removes the same fraction of it."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("exponential", paper="Jun & Nichol 2023 (Shap-E), arXiv:2305.02463: 'exp' in its code")
class Exponential(Schedule):
    """ᾱ = exp(−rate·(t + 1)/T), so that β = 1 − exp(−rate/T) is the same at every index.

    Shap-E's code and diffusers call it 'exp'. They also limit β to 0.999, which at rate 12 matters only at T
    = 1.
    """

    rate: float = Field(12.0, gt=0)
    """−log ᾱ at the last index."""

    def beta(self) -> Tensor:
        # β = 1 − exp(−rate/T)
        return torch.full((self.timesteps,), -math.expm1(-self.rate / self.timesteps), dtype=torch.float64)
