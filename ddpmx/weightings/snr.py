"""The signal-to-noise ratio as the weight of the x_0 error, bounded from above or below."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("snr", paper="Salimans & Ho 2022, arXiv:2202.00512, sec. 4")
class SNR(Weighting):
    """SNR on the x_0 error: the plain ε loss, whatever the network predicts."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp()


@WEIGHTINGS.register(
    "truncated_snr", aliases=("max_snr",), paper="Salimans & Ho 2022, arXiv:2202.00512, sec. 4"
)
class TruncatedSNR(Weighting):
    """max(SNR, floor) on the x_0 error, so that it counts where hardly any signal is left.

    The code of Hang et al. 2023 calls it max_snr where the floor is not 1.
    """

    floor: float = Field(1.0, gt=0)
    """The least weight of the x_0 error."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp().clamp(min=self.floor)


@WEIGHTINGS.register("min_snr", paper="Hang et al. 2023, arXiv:2303.09556")
class MinSNR(Weighting):
    """min(SNR, gamma) on the x_0 error: min(1, gamma/SNR) on the ε error, min(SNR, gamma)/(SNR + 1) on the v error."""

    gamma: float = Field(5.0, gt=0)
    """The largest weight of the x_0 error."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp().clamp(max=self.gamma)


@WEIGHTINGS.register("soft_min_snr", paper="Crowson et al. 2024, arXiv:2401.11605")
class SoftMinSNR(Weighting):
    """SNR·gamma/(SNR + gamma) on the x_0 error: min_snr without its corner, half of it where SNR = gamma."""

    gamma: float = Field(4.0, gt=0)
    """What the weight of the x_0 error tends to without noise; the paper's is 1/sigma_data² for data of deviation ½."""

    def x_start_weight(self, table: Table) -> Tensor:
        return self.gamma * (table.log_snr - math.log(self.gamma)).sigmoid()
