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
    """The variational bound: the ε error counts β²/(2σ²α(1−ᾱ)), σ² being the posterior variance β̃.

    This equals ½(SNR_{t−1}/SNR_t − 1), which is how it is computed. It is infinite at index 0, where β̃ is 0 (before the first
    step there is no noise left): clip or first make it finite there, and without either the table is refused.
    """

    clip: float | None = Field(None, gt=0)
    """Upper bound of the ε weight, before it is converted to the prediction in use; null: none."""
    first: Literal["clip", "skip", "repeat"] = "clip"
    """The ε weight of index 0, where the formula is infinite. clip: that field's value; skip: 0; repeat: the weight of index 1."""

    def x_start_weight(self, table: Table) -> Tensor:
        log_snr = table.log_snr
        weight = 0.5 * torch.expm1(log_snr[:-1] - log_snr[1:])  # of the ε error, from index 1 on
        if self.first == "repeat" and not len(weight):
            raise SpecError("there is no index 1 to repeat: the schedule has 1 timestep", field="first")
        first = {"clip": weight.new_full((1,), math.inf), "skip": weight.new_zeros(1), "repeat": weight[:1]}[
            self.first
        ]
        weight = torch.cat([first, weight])
        if self.clip is not None:
            weight = weight.clamp(max=self.clip)
        return weight * log_snr.exp()  # the x_0 error is the ε error divided by √SNR


@WEIGHTINGS.register("elbo", paper="Kingma & Gao 2023, arXiv:2303.00848")
class ELBO(Weighting):
    """The bound in continuous time: −½ dSNR/dt on the x_0 error, that is −½ dλ/dt on the ε error, λ being log-SNR.

    On a table −dλ/dt is (λ_{t−1} − λ_{t+1})/2, one-sided at the ends: what vlb tends to as the steps get smaller, and finite at
    index 0. It has no limit next to an infinite log-SNR.
    """

    def x_start_weight(self, table: Table) -> Tensor:
        return 0.5 * log_snr_slope(table) * table.log_snr.exp()
