"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import nn

from ..components.registry import OPTIMIZERS
from . import eager
from .base import Optimizer


@OPTIMIZERS.register("sgd", paper="Sutskever et al. 2013, proceedings.mlr.press/v28/sutskever13")
class Sgd(Optimizer):
    """Stochastic gradient descent with momentum; weight decay is added to the gradient."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Fraction of the previous step's velocity that is kept."""

    nesterov: bool = False
    """Use Nesterov momentum: the step looks ahead along the velocity."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0; set `momentum`, or `nesterov: false`")
        return self

    def build(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        return eager.SGD(parameters, lr, self.momentum, weight_decay=weight_decay, nesterov=self.nesterov)
