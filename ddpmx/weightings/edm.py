"""The weighting under which a preconditioned network's output counts alike at every noise level."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, table 1")
class EDM(Weighting):
    """(σ² + sigma_data²)/(σ·sigma_data)² on the x_0 error (the paper's D), σ being sigma_ve: SNR + 1/sigma_data²."""

    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data; at 1 the weight is Salimans & Ho's SNR + 1, the plain v loss."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp() + self.sigma_data**-2
