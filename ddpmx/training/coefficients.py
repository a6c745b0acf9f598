"""Coefficients of a training step at each index of the table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import embed_time
from ..schedules import Table
from ..spec.schema import Spec
from ..theory.variance import Posterior, posterior


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
    spec: Spec,
    table: Table,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    indices: Tensor | None = None,
) -> Coefficients:
    """Coefficients of a spec that has passed its checks, computed in float64 and rounded to `dtype`.

    With `indices`, float64 [k] and perhaps fractional, the columns are those at these indices, [k], for use
    without a loss: `weight` and `importance` are then 1, and `posterior` is None.
    """
    trains = indices is None
    indices = torch.arange(table.timesteps, dtype=torch.float64) if indices is None else indices
    signal, sigma = table.at(indices)
    target_x, target_eps = spec.prediction.target(signal, sigma)
    input_scale = spec.prediction.input_scale(signal, sigma)
    x0_from_x, x0_from_output = spec.prediction.x0_from(signal, sigma)
    weight = spec.loss.weighting.weights(table, spec.prediction) if trains else torch.ones_like(indices)
    importance = spec.time.importance(table) if trains else torch.ones_like(indices)
    step = posterior(table) if spec.model.learns_variance and trains else None

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
        time=column(embed_time(indices, table, spec.model.time)),
        input_scale=None if input_scale is None else column(input_scale),
        x0_from_x=column(x0_from_x),
        x0_from_output=column(x0_from_output),
        posterior=None if step is None else Posterior(*(column(values) for values in vars(step).values())),
    )
