"""Coefficients of a training step at each index of the table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import TimeInput, embed_time
from ..predictions import Prediction
from ..schedules import Table
from ..theory.variance import Posterior, posterior
from ..times import Time
from ..weightings import Weighting


@dataclass(frozen=True, slots=True)
class Formulation:
    """The choices beside the schedule that determine the coefficients."""

    prediction: Prediction
    """What the network predicts."""
    weighting: Weighting
    """The weight of the loss at each index."""
    time: Time
    """The distribution that timesteps are drawn from."""
    time_input: TimeInput = "index"
    """Input of the network's time embedding."""
    learns_variance: bool = False
    """Whether the network also predicts the variance of a sampling step."""


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Columns to be gathered by timestep: [T] each, of one dtype and on one device."""

    signal: Tensor
    """Coefficient of x_0 in x_t."""
    sigma: Tensor
    """Coefficient of ε in x_t."""
    target_x: Tensor
    """Coefficient of x_0 in the network's target."""
    target_eps: Tensor
    """Coefficient of ε in the network's target."""
    weight: Tensor
    """Weight of the loss at each index."""
    importance: Tensor
    """Second factor of the training loss, which corrects for how often t is drawn."""
    log_snr: Tensor
    """log-SNR limited to ±30, the input of a learned weighting."""
    time: Tensor
    """Input of the network's time embedding."""
    input_scale: Tensor | None
    """Factor of x_t in the network's input; None for 1."""
    x0_from_x: Tensor
    """Coefficient of x_t in x_0."""
    x0_from_output: Tensor
    """Coefficient of the network's output in x_0."""
    posterior: Posterior | None
    """Posterior of a sampling step; None if the network does not learn the variance."""

    def x0(self, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """x_0 implied by a network's output for x_t at indices t [b]: [b, c, h, w], in the columns' dtype."""
        from_x, from_output = (
            column[t].view(-1, 1, 1, 1) for column in (self.x0_from_x, self.x0_from_output)
        )
        # x_0 = x0_from_x·x_t + x0_from_output·output
        return from_x * x_t.to(from_x.dtype) + from_output * output.float().to(from_output.dtype)


def coefficients(
    formulation: Formulation,
    table: Table,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    indices: Tensor | None = None,
) -> Coefficients:
    """Coefficients of a formulation that suits the table, computed in float64 and rounded to `dtype`.

    With `indices`, float64 [k] and perhaps fractional, the columns are those at these indices, [k], for use
    without a loss: `weight` and `importance` are then 1, and `posterior` is None.
    """
    trains = indices is None
    prediction, time = formulation.prediction, formulation.time
    indices = torch.arange(table.timesteps, dtype=torch.float64) if indices is None else indices
    signal, sigma = table.at(indices)
    target_x, target_eps = prediction.target(signal, sigma)
    input_scale = prediction.input_scale(signal, sigma)
    x0_from_x, x0_from_output = prediction.x0_from(signal, sigma)
    weight = formulation.weighting.weights(table, prediction) if trains else torch.ones_like(indices)
    importance = time.importance(table) if trains else torch.ones_like(indices)
    step = posterior(table) if formulation.learns_variance and trains else None

    def column(values: Tensor) -> Tensor:
        return values.to(device, dtype)

    return Coefficients(
        signal=column(signal),
        sigma=column(sigma),
        target_x=column(target_x),
        target_eps=column(target_eps),
        weight=column(weight),
        importance=column(importance),
        log_snr=column(embed_time(indices, table, "log_snr")),
        time=column(embed_time(indices, table, formulation.time_input)),
        input_scale=None if input_scale is None else column(input_scale),
        x0_from_x=column(x0_from_x),
        x0_from_output=column(x0_from_output),
        posterior=None if step is None else Posterior(*(column(values) for values in vars(step).values())),
    )
