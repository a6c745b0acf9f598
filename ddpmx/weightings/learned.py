"""A weighting learned in training: the loss at each noise level is divided by its own size."""

from __future__ import annotations

import math
from typing import Annotated, Self, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn

from ..components.registry import WEIGHTINGS
from ..components.slot import Slot, default_component
from ..predictions import Prediction
from ..schedules import Table
from .base import Weighting, checked_weights

FREQUENCIES = 64


@WEIGHTINGS.register(
    "learned", paper="Karras et al. 2024, arXiv:2312.02696; Kendall et al. 2018, arXiv:1705.07115"
)
class Learned(Weighting):
    """Divides the loss at each noise level by its learned size, so that all noise levels count equally.

    ::

        loss = weight·error/exp(u) + u

    weight is that of `base`, and u(log-SNR) a small network, which learns log(weight·error). The optimizer
    trains u together with the main network; it starts at u = 0, where the loss is that of `base`. Validation
    uses the weights of `base` alone, so that its losses stay comparable as u changes.
    `plots/learned_weight.svg` shows a run's u.
    """

    base: Annotated[Weighting, Slot(WEIGHTINGS, {"name": "constant"})] = default_component(
        {"name": "constant"}
    )
    """The weighting that training starts from."""

    @model_validator(mode="after")
    def _base_is_fixed(self) -> Self:
        if self.base.module() is not None:
            raise ValueError("base should not be a learned weighting itself")
        return self

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        """The weights of `base`, checked."""
        return checked_weights(self.base, table, prediction)

    def module(self) -> nn.Module:
        return LogLoss()


class LogLoss(nn.Module):
    """u(log-SNR), [n] → [n]: cosine and sine features, then a linear layer that is initialised to 0.

    As in EDM2, the features are those of log(σ)/4 at normally distributed frequencies; here the frequencies
    are evenly spaced quantiles of that distribution instead of random draws.
    """

    frequency: Tensor

    def __init__(self) -> None:
        super().__init__()
        quantile = (torch.arange(FREQUENCIES, dtype=torch.float64) + 0.5) / FREQUENCIES
        self.register_buffer(
            "frequency", (2 * math.pi * torch.special.ndtri(0.5 + quantile / 2)).float(), persistent=False
        )
        self.linear = nn.Linear(2 * FREQUENCIES, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, log_snr: Tensor) -> Tensor:
        angle = log_snr[:, None] / -8 * self.frequency  # log(σ)/4 = −log-SNR/8: [n, FREQUENCIES]
        features = math.sqrt(2) * torch.cat((angle.cos(), angle.sin()), dim=1)  # [n, 2·FREQUENCIES]
        return cast(Tensor, self.linear(features)).squeeze(1)
