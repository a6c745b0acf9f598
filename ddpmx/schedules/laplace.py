"""Log-SNR with a Laplace distribution (Hang et al. 2024)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("laplace", paper="Hang et al. 2024, arXiv:2407.03297")
class Laplace(Schedule):
    """Log-SNR is Laplace(mu, b) distributed over the indices, so that most training happens near mu.

    ::

        log_snr(t) = mu − b·sign(½ − t)·log(1 − 2·|t − ½|)

    t = (index + ½)/T is the middle of the index's interval in 0 … 1; at 0 and 1 themselves log-SNR would be
    infinite.

    The last index keeps some of the image: with the defaults at T = 1000, signal is 18 % of sigma. If that is
    too much, set zero_terminal_snr or a larger b. 'laplace' in diffusers differs: it uses √ᾱ in place of ᾱ.
    """

    mu: float = 0.0
    """The most frequent log-SNR, and the median: half of the indices are above it."""
    b: float = Field(0.5, gt=0)
    """Scale of the distribution: a larger b trains more at the ends, at very low and very high noise."""

    def log_snr(self) -> Tensor:
        before = torch.arange(1, 2 * self.timesteps, 2, dtype=torch.float64)  # 2·T·t: [T]
        after = 2 * self.timesteps - before  # 2·T·(1 − t)
        # log_snr = mu − b·sign(½ − t)·log(1 − 2·|t − ½|), where 1 − 2·|t − ½| = 2·min(t, 1 − t)
        return self.mu - self.b * torch.sign(after - before) * torch.log(
            torch.minimum(before, after) / self.timesteps
        )
