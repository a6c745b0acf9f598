"""The four common predictions: ε, x_0, v and the velocity of rectified flow."""

from __future__ import annotations

import torch
from torch import Tensor

from ..components.registry import PREDICTIONS
from .base import Prediction


@PREDICTIONS.register("epsilon", aliases=("noise",), paper="Ho et al. 2020, arXiv:2006.11239")
class Epsilon(Prediction):
    """The noise ε, which gives x_0 = (x_t − sigma·ε)/signal."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(signal), torch.ones_like(sigma)


@PREDICTIONS.register("x_start", aliases=("sample",), paper="Ho et al. 2020, arXiv:2006.11239")
class XStart(Prediction):
    """The clean image x_0 itself."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(signal), torch.zeros_like(sigma)

    def x0_from(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        # x_0 is the output itself; the base class's formula is 0/0 where sigma = 0
        return torch.zeros_like(signal), torch.ones_like(sigma)


@PREDICTIONS.register("v", aliases=("v_prediction",), paper="Salimans & Ho 2022, arXiv:2202.00512")
class V(Prediction):
    """v = signal·ε − sigma·x_0, which gives x_0 = (signal·x_t − sigma·v)/(signal² + sigma²)."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -sigma, signal


@PREDICTIONS.register("velocity", aliases=("flow",), paper="Liu et al. 2022, arXiv:2209.03003")
class Velocity(Prediction):
    """u = ε − x_0, the velocity of rectified flow, which gives x_0 = (x_t − sigma·u)/(signal + sigma)."""

    def target(self, signal: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(signal), torch.ones_like(sigma)
