"""SNR as the weight of the x_0 error, unbounded or bounded from above or below."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("snr", paper="Salimans & Ho 2022, arXiv:2202.00512, sec. 4")
class SNR(Weighting):
    """SNR on the x_0 error, which is the plain ε loss for any prediction."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp()


@WEIGHTINGS.register(
    "truncated_snr", aliases=("max_snr",), paper="Salimans & Ho 2022, arXiv:2202.00512, sec. 4"
)
class TruncatedSNR(Weighting):
    """max(SNR, floor) on the x_0 error, so that the weight does not vanish where almost no signal is left.

    The code of Hang et al. 2023 calls it max_snr if the floor is not 1.
    """

    floor: float = Field(1.0, gt=0)
    """Smallest weight of the x_0 error."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp().clamp(min=self.floor)


@WEIGHTINGS.register("min_snr", paper="Hang et al. 2023, arXiv:2303.09556")
class MinSNR(Weighting):
    """min(SNR, gamma) on the x_0 error, which is min(1, gamma/SNR) on the ε error.

    On the v error of a variance-preserving schedule it is min(SNR, gamma)/(SNR + 1).
    """

    gamma: float = Field(5.0, gt=0)
    """Largest weight of the x_0 error."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp().clamp(max=self.gamma)


@WEIGHTINGS.register("soft_min_snr", paper="Crowson et al. 2024, arXiv:2401.11605")
class SoftMinSNR(Weighting):
    """SNR·gamma/(SNR + gamma) on the x_0 error: a smooth min_snr, half as large where SNR = gamma."""

    gamma: float = Field(4.0, gt=0)
    """Limit of the x_0 error's weight as noise vanishes. The paper uses 1/sigma_data²; 4 is for standard
    deviation ½."""

    def x_start_weight(self, table: Table) -> Tensor:
        # SNR·gamma/(SNR + gamma) = gamma·sigmoid(log-SNR − log gamma)
        return self.gamma * (table.log_snr - math.log(self.gamma)).sigmoid()
