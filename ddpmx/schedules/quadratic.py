"""Schedules in which √β grows linearly."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("quadratic", paper="Song et al. 2020, arXiv:2010.02502")
class Quadratic(Schedule):
    """√β grows linearly from √beta_start to √beta_end."""

    beta_start: float = Field(1e-4, gt=0, le=1)
    """β at index 0, which has the least noise."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """β at the last index."""

    def beta(self) -> Tensor:
        # √β_t = √beta_start + t/(T − 1)·(√beta_end − √beta_start)
        return torch.linspace(
            self.beta_start**0.5, self.beta_end**0.5, self.timesteps, dtype=torch.float64
        ).square()


@SCHEDULES.register("scaled_linear", paper="Rombach et al. 2022 (Stable Diffusion), arXiv:2112.10752")
class ScaledLinear(Quadratic):
    """√β grows linearly, as in `quadratic`, over Stable Diffusion's range of β.

    diffusers calls this rule 'scaled_linear', with `quadratic`'s defaults. The defaults here are those in the
    configurations of Stable Diffusion's models.
    """

    beta_start: float = Field(0.00085, gt=0, le=1)
    """β at index 0, which has the least noise."""
    beta_end: float = Field(0.012, gt=0, le=1)
    """β at the last index."""
