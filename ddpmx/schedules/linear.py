"""The linear schedule of the original DDPM (Ho et al. 2020)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("linear", paper="Ho et al. 2020, arXiv:2006.11239")
class Linear(Schedule):
    """β grows linearly from beta_start to beta_end."""

    beta_start: float = Field(1e-4, gt=0, le=1)
    """β at index 0, which has the least noise."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """β at the last index."""
    rescale: bool = False
    """Multiply β by 1000/T, so that any T ends about as noisy as T = 1000 does (Nichol & Dhariwal's code).
    It is an error if a β is then above 1."""

    def beta(self) -> Tensor:
        scale = 1000 / self.timesteps if self.rescale else 1.0
        return torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64) * scale
