"""Optimizers, with the parameters that `train.lr` and `train.weight_decay` do not already say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from .expected import instance
from .guard import Contract
from .registry import OPTIMIZERS, Component

Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Component):
    """Base of all optimizers: override `build`."""

    contract: ClassVar[Contract] = {"build": lambda _, given, value: instance(value, torch.optim.Optimizer)}

    def build(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        """An optimizer of these parameters; its state is tensors and numbers, which checkpoints can hold."""
        raise NotImplementedError


class _Adaptive(Optimizer):
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""

    eps: float = Field(default=1e-8, gt=0, le=1)
    """Added to the root of the mean square."""


@OPTIMIZERS.register("adam", paper="Kingma & Ba 2014, arXiv:1412.6980")
class Adam(_Adaptive):
    """Adam; weight decay is added to the gradient."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr, self.betas, self.eps, weight_decay, fused=True)


@OPTIMIZERS.register("adamw", paper="Loshchilov & Hutter 2017, arXiv:1711.05101")
class AdamW(_Adaptive):
    """Adam whose weight decay shrinks the weights directly, by lr·weight_decay each step."""

    def build(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr, self.betas, self.eps, weight_decay, fused=True)


@OPTIMIZERS.register("sgd", paper="Sutskever et al. 2013, proceedings.mlr.press/v28/sutskever13")
class Sgd(Optimizer):
    """Stochastic gradient descent with momentum; weight decay is added to the gradient."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step's velocity that is kept."""

    nesterov: bool = False
    """Take the gradient's step after the momentum's."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self

    def build(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr, self.momentum, weight_decay=weight_decay, nesterov=self.nesterov)
