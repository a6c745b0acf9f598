"""The bound of data with a little noise added: weights that fall with the log-SNR."""

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
    """sigmoid(bias − λ) on the ε error, λ being log-SNR."""

    bias: float = 2.0
    """The log-SNR where the weight is one half; Hoogeboom et al. lower it for large images."""
    per_log_snr: bool = False
    """Multiply elbo's weight, as both papers do: the objective then does not depend on the schedule, whose log-SNR must be finite."""

    def x_start_weight(self, table: Table) -> Tensor:
        log_snr = table.log_snr
        weight = (log_snr + logsigmoid(self.bias - log_snr)).exp()
        return 0.5 * log_snr_slope(table) * weight if self.per_log_snr else weight
