"""Log-SNR that falls linearly (Kingma et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("linear_log_snr", paper="Kingma et al. 2021 (VDM), arXiv:2107.00630")
class LinearLogSNR(Schedule):
    """Log-SNR falls linearly from log_snr_max at index 0 to log_snr_min at index T − 1.

    At T = 1 it is log_snr_min. The defaults are the starting point of the paper's learned schedules, in which
    γ = −log-SNR runs from −13.3 to 5.
    """

    log_snr_max: float = 13.3
    """Log-SNR at index 0, which has the least noise; must be greater than log_snr_min."""
    log_snr_min: float = -5.0
    """Log-SNR at the last index."""

    def log_snr(self) -> Tensor:
        self._require_below("log_snr_min", "log_snr_max")
        return torch.linspace(self.log_snr_min, self.log_snr_max, self.timesteps, dtype=torch.float64).flip(0)
