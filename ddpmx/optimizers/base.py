"""The interface between optimizers and the rest of ddpmx."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import nn

from ..components.registry import Component
from ..plugins.expected import instance
from ..plugins.guard import Contract


class Optimizer(Component):
    """Base of all optimizers: override `build`."""

    contract: ClassVar[Contract] = {
        "build": lambda _, arguments, value: instance(value, torch.optim.Optimizer)
    }

    def build(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
    ) -> torch.optim.Optimizer:
        """Build an optimizer of these parameters; its state must be tensors and numbers, for checkpoints."""
        raise NotImplementedError
