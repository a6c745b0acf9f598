"""The straight path between image and noise: rectified flow, flow matching."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register(
    "flow",
    paper="Liu et al. 2022, arXiv:2209.03003; shift: Esser et al. 2024 (SD3), arXiv:2403.03206, eq. 23",
)
class Flow(Schedule):
    """The straight line from image to noise, rectified flow: signal is 1 − u and sigma is u, which grows evenly at shift 1.

    u = shift·t/(1 + (shift − 1)·t) at t = (index + 1)/T, as in diffusers' FlowMatchEulerDiscreteScheduler of T timesteps. So the
    last index is pure noise, of which ε prediction tells no image: predict velocity, v or x_start.
    """

    shift: float = Field(1.0, gt=0)
    """Above 1 more of the indices are noisy, as larger images need; it equals snr_shift 1/shift."""

    def log_snr(self) -> Tensor:
        step = torch.arange(1, self.timesteps + 1, dtype=torch.float64)
        return 2 * (
            torch.log(self.timesteps - step) - torch.log(step) - math.log(self.shift)
        )  # SNR = ((1 − t)/(shift·t))²

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)
