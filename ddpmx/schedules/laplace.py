"""log-SNR with a Laplace distribution (Hang et al. 2024)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("laplace", paper="Hang et al. 2024, arXiv:2407.03297")
class Laplace(Schedule):
    """Uniform timesteps have log-SNRs that are Laplace(mu, b) distributed, so that most training is around mu.

    With t = (index + ½)/T, the middle of each index's share of 0 … 1 (at 0 and 1 themselves log-SNR is infinite)::

        log_snr(t) = mu − b·sign(½ − t)·log(1 − 2·|t − ½|)

    The last index keeps some of the image, with the defaults at T = 1000 18 % as much as there is noise: where that is too much,
    set zero_terminal_snr or a larger b. 'laplace' in diffusers differs: it takes √ᾱ for ᾱ.
    """

    mu: float = 0.0
    """The log-SNR that training sees most, and half of the indices are above."""
    b: float = Field(0.5, gt=0)
    """Scale of the distribution: the larger, the more training at the ends."""

    def log_snr(self) -> Tensor:
        before = torch.arange(1, 2 * self.timesteps, 2, dtype=torch.float64)  # 2·T·t
        after = 2 * self.timesteps - before
        return self.mu - self.b * torch.sign(after - before) * torch.log(
            torch.minimum(before, after) / self.timesteps
        )
