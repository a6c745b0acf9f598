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
    """Weight 1 at every timestep on the error of the prediction in use: the L_simple of DDPM.

    It is the only weighting whose objective depends on the prediction: with epsilon it puts 1 on the ε error,
    with x_start on the x_0 error.
    """

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        return torch.ones_like(table.signal)
