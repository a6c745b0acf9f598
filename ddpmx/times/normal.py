"""Times whose logit is normal, and noise levels whose logarithm is normal."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import TIMES
from ..errors import SpecError
from ..schedules import Table
from .base import NonUniform, boundaries


@TIMES.register("logit_normal", paper="Esser et al. 2024, arXiv:2403.03206, eq. 19")
class LogitNormal(NonUniform):
    """logit(t) = log(t/(1 − t)) ~ N(mean, std²) for the time t in (0, 1), which favours the middle."""

    mean: float = 0.0
    """Mean of the logit: below 0 favours low noise, above 0 high noise."""
    std: float = Field(1.0, gt=0)
    """Standard deviation of the logit: a larger std spreads the draws more widely."""

    def cdf(self, table: Table) -> Tensor:
        return _normal_cdf((boundaries(table).logit() - self.mean) / self.std)


@TIMES.register("log_normal", paper="Karras et al. 2022, arXiv:2206.00364, table 1")
class LogNormal(NonUniform):
    """ln σ ~ N(mean, std²) for the noise level σ = sigma/signal; draws the index with the nearest ln σ."""

    mean: float = -1.2
    """P_mean of the paper, which is for data of standard deviation ½."""
    std: float = Field(1.2, gt=0)
    """P_std of the paper."""

    def cdf(self, table: Table) -> Tensor:
        log_sigma = -0.5 * table.log_snr  # ln σ: [T]
        middles = (log_sigma[:-1] + log_sigma[1:]) / 2  # where the nearest index changes: [T − 1]
        if bool(middles.isnan().any()):
            raise SpecError(
                f"the time distribution '{self.component_name}' needs an index with a finite log-SNR"
            )
        ends = log_sigma.new_tensor([-torch.inf]), log_sigma.new_tensor([torch.inf])
        return _normal_cdf((torch.cat([ends[0], middles, ends[1]]) - self.mean) / self.std)


def _normal_cdf(z: Tensor) -> Tensor:
    """The cumulative distribution function of the standard normal distribution."""
    probability: Tensor = torch.special.ndtr(z)
    return probability
