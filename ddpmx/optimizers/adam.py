"""Adam, and AdamW with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from ..components.registry import OPTIMIZERS
from . import eager
from .base import Optimizer

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Adaptive(Optimizer):
    """Fields that Adam and AdamW share."""

    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the moving averages of the gradient and of its square."""

    eps: float = Field(default=1e-8, gt=0, le=1)
    """Added to the root of the mean square, in the denominator."""


@OPTIMIZERS.register("adam", paper="Kingma & Ba 2014, arXiv:1412.6980")
class Adam(_Adaptive):
    """Adam; weight decay is added to the gradient (L2 regularisation)."""

    def build(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return eager.Adam(parameters, lr, self.betas, self.eps, weight_decay, fused=True)


@OPTIMIZERS.register("adamw", paper="Loshchilov & Hutter 2017, arXiv:1711.05101")
class AdamW(_Adaptive):
    """Adam with decoupled weight decay: each step multiplies the weights by 1 − lr·weight_decay."""

    def build(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return eager.AdamW(parameters, lr, self.betas, self.eps, weight_decay, fused=True)
