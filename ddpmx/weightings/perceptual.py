"""ε losses with less weight at low noise, where what the network learns is hardly visible."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("p2", paper="Choi et al. 2022, arXiv:2204.00227, eq. 8")
class P2(Weighting):
    """1/(k + SNR)^gamma on the ε error, which lowers the weight at low noise."""

    gamma: float = Field(1.0, ge=0)
    """Strength of the fall at low noise; 0 is the plain ε loss."""
    k: float = Field(1.0, ge=0)
    """Limits the weight at high noise to 1/k^gamma."""

    def x_start_weight(self, table: Table) -> Tensor:
        snr = table.log_snr.exp()
        # x_0 weight = SNR·(ε weight)
        return snr * (self.k + snr) ** -self.gamma


@WEIGHTINGS.register("debiased", paper="Yu et al. 2023, arXiv:2310.08442")
class Debiased(Weighting):
    """1/√SNR on the ε error, which is √SNR on the x_0 error."""

    def x_start_weight(self, table: Table) -> Tensor:
        return (0.5 * table.log_snr).exp()
