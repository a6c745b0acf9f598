"""The straight line between image and noise: rectified flow, flow matching."""

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
    """Rectified flow, the straight line from image to noise: signal = 1 − u and sigma = u.

    With t = (index + 1)/T, as in diffusers' FlowMatchEulerDiscreteScheduler with T timesteps::

        u = shift·t/(1 + (shift − 1)·t)

    The last index is pure noise, from which ε prediction cannot recover the image: predict velocity, v or
    x_start.
    """

    shift: float = Field(1.0, gt=0)
    """At 1, u grows evenly. Above 1, more of the indices are noisy, which larger images need. Same as
    snr_shift = 1/shift."""

    def log_snr(self) -> Tensor:
        step = torch.arange(1, self.timesteps + 1, dtype=torch.float64)
        # SNR = ((1 − u)/u)² = ((1 − t)/(shift·t))²
        return 2 * (torch.log(self.timesteps - step) - torch.log(step) - math.log(self.shift))

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        # signal/sigma = exp(log_snr/2) and signal + sigma = 1
        return torch.sigmoid(log_snr / 2), torch.sigmoid(-log_snr / 2)
