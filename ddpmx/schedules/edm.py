"""EDM's noise levels (Karras et al. 2022)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, eq. 5")
class EDM(Schedule):
    """Variance exploding, as in EDM: signal = 1, and sigma^(1/rho) grows linearly with the index.

    ::

        sigma_i = (sigma_min^(1/rho) + i/(T − 1)·(sigma_max^(1/rho) − sigma_min^(1/rho)))^rho

    At T = 1, sigma is sigma_max. Images are in [−1, 1] as everywhere in ddpmx. EDM's sigma_data belongs to
    the network, not to the noise: see the prediction `edm`.
    """

    sigma_min: float = Field(0.002, gt=0)
    """sigma at index 0, which has the least noise; must be less than sigma_max."""
    sigma_max: float = Field(80.0, gt=0)
    """sigma at the last index."""
    rho: float = Field(7.0, ge=1)
    """A larger rho puts more of the indices at low noise; 1 spaces sigma evenly."""

    def log_snr(self) -> Tensor:
        self._require_below("sigma_min", "sigma_max")
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        # log-SNR = −2·log(sigma) = −2·rho·log(sigma^(1/rho))
        return -2 * self.rho * torch.linspace(high, low, self.timesteps, dtype=torch.float64).flip(0).log()

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(log_snr), torch.exp(-log_snr / 2)
