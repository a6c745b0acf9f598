"""Weights of the ε error that fall as log-SNR rises: the bound for data with a little noise added."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting, log_snr_slope


@WEIGHTINGS.register(
    "sigmoid", paper="Kingma & Gao 2023, arXiv:2303.00848; Hoogeboom et al. 2024, arXiv:2410.19324"
)
class Sigmoid(Weighting):
    """sigmoid(bias − λ) on the ε error, where λ is log-SNR."""

    bias: float = 2.0
    """The log-SNR at which the weight is ½. Hoogeboom et al. lower it for large images."""
    per_log_snr: bool = False
    """Multiply by the weight of elbo, −½ dλ/dt, as both papers do. The objective then does not depend on the
    schedule, but the schedule's log-SNR must be finite."""

    def x_start_weight(self, table: Table) -> Tensor:
        log_snr = table.log_snr
        # x_0 weight = SNR·sigmoid(bias − λ), times −½ dλ/dt if per_log_snr
        weight = (log_snr + logsigmoid(self.bias - log_snr)).exp()
        return 0.5 * log_snr_slope(table) * weight if self.per_log_snr else weight
