"""EDM's weighting: equal weight on the preconditioned network's output at every noise level."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, table 1")
class EDM(Weighting):
    """SNR + 1/sigma_data² on the x_0 error.

    With σ = sigma/signal this is the paper's (σ² + sigma_data²)/(σ·sigma_data)² on the error of its D.
    """

    sigma_data: float = Field(0.5, gt=0)
    """Standard deviation of the data. With 1 the weight is Salimans & Ho's SNR + 1, the plain v loss."""

    def x_start_weight(self, table: Table) -> Tensor:
        return table.log_snr.exp() + self.sigma_data**-2
