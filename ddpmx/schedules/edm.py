"""The noise levels of EDM (Karras et al. 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, eq. 5")
class EDM(Schedule):
    """Variance exploding: signal is 1, and sigma^(1/rho) grows linearly from that of sigma_min to that of sigma_max.

    At T = 1 sigma is sigma_max. Images are in [−1, 1] as everywhere; EDM's sigma_data belongs to its network, not to its noise.
    """

    sigma_min: float = Field(0.002, gt=0)
    """sigma at the first index, with the least noise; less than sigma_max."""
    sigma_max: float = Field(80.0, gt=0)
    """sigma at the last index."""
    rho: float = Field(7.0, ge=1)
    """The larger, the more indices have little noise; 1 spaces sigma evenly."""

    def log_snr(self) -> Tensor:
        self._require_below("sigma_min", "sigma_max")
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return -2 * self.rho * torch.linspace(high, low, self.timesteps, dtype=torch.float64).flip(0).log()

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)
