"""A weighting that training learns: each noise level's loss is divided by its own size."""

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
    """base weight/exp(u)·error + u, u a small network of log-SNR that learns log(base weight·error): all noise levels count alike.

    u is trained with the network, by the same optimizer, from 0 on, where this is the base weighting. Validation uses the base's
    weights alone, so that losses of different u can be compared. `plots/learned_weight.svg` shows the u of a run.
    """

    base: Annotated[Weighting, Slot(WEIGHTINGS, {"name": "constant"})] = default_component(
        {"name": "constant"}
    )
    """The weighting that it starts from."""

    @model_validator(mode="after")
    def _base_is_fixed(self) -> Self:
        if self.base.module() is not None:
            raise ValueError("base should not be a learned weighting itself")
        return self

    def weights(self, table: Table, prediction: str | Prediction) -> Tensor:
        """The base's."""
        return checked_weights(self.base, table, prediction)

    def module(self) -> nn.Module:
        return LogLoss()


class LogLoss(nn.Module):
    """log-SNR [n] -> u [n]: cosines and sines, then a linear layer that starts as 0.

    As in EDM2 they are of log(σ)/4 and their frequencies normally distributed, but evenly spread quantiles instead of draws.
    """

    frequency: Tensor

    def __init__(self) -> None:
        super().__init__()
        place = (torch.arange(FREQUENCIES, dtype=torch.float64) + 0.5) / FREQUENCIES
        self.register_buffer(
            "frequency", (2 * math.pi * torch.special.ndtri(0.5 + place / 2)).float(), persistent=False
        )
        self.linear = nn.Linear(2 * FREQUENCIES, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, log_snr: Tensor) -> Tensor:
        angle = log_snr[:, None] / -8 * self.frequency  # log(σ)/4 is −log-SNR/8
        features = math.sqrt(2) * torch.cat((angle.cos(), angle.sin()), dim=1)  # [n, 2·FREQUENCIES]
        return cast(Tensor, self.linear(features)).squeeze(1)
