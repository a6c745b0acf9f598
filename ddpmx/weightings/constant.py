"""The unweighted loss."""

from __future__ import annotations

import torch
from torch import Tensor

from ..components.registry import WEIGHTINGS
from ..predictions import Prediction
from ..schedules import Table
from .base import Weighting


@WEIGHTINGS.register("constant", paper="Ho et al. 2020, arXiv:2006.11239, eq. 14")
class Constant(Weighting):
    """1 at every timestep, for the prediction in use: what the field calls L_simple.

    The one weighting that is not one objective: it weighs the ε error by 1 under ε, the x_0 error by 1 under x_start.
    """

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        return torch.ones_like(table.signal)
