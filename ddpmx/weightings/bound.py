"""The variational bound on the likelihood, in discrete and in continuous time."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..errors import SpecError
from ..schedules import Table
from .base import Weighting, log_snr_slope


@WEIGHTINGS.register("vlb", paper="Ho et al. 2020, arXiv:2006.11239, eq. 12")
class VLB(Weighting):
    """The variational bound: β²/(2σ²α(1−ᾱ)) on the ε error, where σ² is the posterior variance β̃.

    It is computed in the equal form ½(SNR_{t−1}/SNR_t − 1). At index 0 it is infinite, because β̃ = 0 where
    no noise is left: set clip or first to make it finite; without either it is an error.
    """

    clip: float | None = Field(None, gt=0)
    """Upper bound of the ε weight, applied before conversion to the prediction in use; null: no bound."""
    first: Literal["clip", "skip", "repeat"] = "clip"
    """The ε weight at index 0, where the formula is infinite. clip: the value of the field clip; skip: 0;
    repeat: the weight at index 1."""

    def x_start_weight(self, table: Table) -> Tensor:
        log_snr = table.log_snr
        # ½(SNR_{t−1}/SNR_t − 1) on the ε error, from index 1 on: [T − 1]
        weight = 0.5 * torch.expm1(log_snr[:-1] - log_snr[1:])
        if self.first == "repeat" and not len(weight):
            raise SpecError("there is no index 1 to repeat: the schedule has 1 timestep", field="first")
        first = {"clip": weight.new_full((1,), math.inf), "skip": weight.new_zeros(1), "repeat": weight[:1]}[
            self.first
        ]
        weight = torch.cat([first, weight])  # [T]
        if self.clip is not None:
            weight = weight.clamp(max=self.clip)
        return weight * log_snr.exp()  # x_0 error² = ε error²/SNR


@WEIGHTINGS.register("elbo", paper="Kingma & Gao 2023, arXiv:2303.00848")
class ELBO(Weighting):
    """The bound in continuous time: −½ dλ/dt on the ε error, where λ is log-SNR; −½ dSNR/dt on the x_0 error.

    On a table, −dλ/dt is (λ_{t−1} − λ_{t+1})/2, and one-sided at the ends. vlb approaches this weight as its
    steps get smaller. Unlike vlb it is finite at index 0, but it has no limit next to an infinite log-SNR.
    """

    def x_start_weight(self, table: Table) -> Tensor:
        # −½ dSNR/dt = −½ dλ/dt·SNR
        return 0.5 * log_snr_slope(table) * table.log_snr.exp()
