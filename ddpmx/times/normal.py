"""Normal distributions of the logit of the time, and of the logarithm of the noise level."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import TIMES
from ..errors import SpecError
from ..schedules import Table
from .base import Uneven, boundaries


@TIMES.register("logit_normal", paper="Esser et al. 2024, arXiv:2403.03206, eq. 19")
class LogitNormal(Uneven):
    """log(t/(1 − t)) ~ N(mean, std²) for the time t in (0, 1): most draws in the middle, none at the ends."""

    mean: float = 0.0
    """Below 0 favours little noise, above 0 much."""
    std: float = Field(1.0, gt=0)
    """How broad it is, in logits."""

    def cdf(self, table: Table) -> Tensor:
        return _below((boundaries(table).logit() - self.mean) / self.std)


@TIMES.register("log_normal", paper="Karras et al. 2022, arXiv:2206.00364, table 1")
class LogNormal(Uneven):
    """ln σ ~ N(mean, std²) for the noise level σ = sigma_ve; the index whose ln σ is nearest."""

    mean: float = -1.2
    """The paper's P_mean, for data of deviation ½."""
    std: float = Field(1.2, gt=0)
    """The paper's P_std."""

    def cdf(self, table: Table) -> Tensor:
        log_sigma = -0.5 * table.log_snr
        middles = (log_sigma[:-1] + log_sigma[1:]) / 2
        if bool(middles.isnan().any()):
            raise SpecError(f"the time '{self.component_name}' needs a finite log-SNR at one index at least")
        ends = log_sigma.new_tensor([-torch.inf]), log_sigma.new_tensor([torch.inf])
        return _below((torch.cat([ends[0], middles, ends[1]]) - self.mean) / self.std)


def _below(z: Tensor) -> Tensor:
    """The standard normal distribution's cdf."""
    share: Tensor = torch.special.ndtr(z)
    return share
