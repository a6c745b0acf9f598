"""The table's columns that a training step gathers by index."""

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
    """[T] each, of one dtype and on one device."""

    signal: Tensor
    sigma: Tensor
    target_x: Tensor
    target_eps: Tensor
    weight: Tensor
    importance: Tensor
    """Also multiplies the training loss, to make up for how its t are drawn."""
    log_snr: Tensor
    """What a learned weighting sees: within ±30."""
    time: Tensor
    """What the network's time embedding sees."""
    input_scale: Tensor | None
    """What x_t is multiplied by before the network sees it."""
    x0_from_x: Tensor
    x0_from_output: Tensor
    """x_0 = x0_from_x·x_t + x0_from_output·output."""
    posterior: Posterior | None
    """Of a sampling step; None for a network that does not learn its variance."""

    def x0(self, x_t: Tensor, output: Tensor, t: Tensor) -> Tensor:
        """The clean images that a network's output [b, c, h, w] for x_t at indices t [b] implies, in the columns' dtype."""
        from_x, from_output = (
            column[t].view(-1, 1, 1, 1) for column in (self.x0_from_x, self.x0_from_output)
        )
        return from_x * x_t.to(from_x.dtype) + from_output * output.float().to(from_output.dtype)


def coefficients(
    spec: Spec, table: Table, device: torch.device, dtype: torch.dtype = torch.float32
) -> Coefficients:
    """The columns of a checked spec, computed in float64 and then rounded to `dtype`."""
    indices = torch.arange(table.timesteps, dtype=torch.float64)
    target_x, target_eps = spec.prediction.target(table.signal, table.sigma)
    weight = spec.loss.weighting.weights(table, spec.prediction)
    input_scale = spec.prediction.input_scale(table.signal, table.sigma)
    x0_from_x, x0_from_output = spec.prediction.x0_from(table.signal, table.sigma)
    step = posterior(table) if spec.model.learns_variance else None

    def column(values: Tensor) -> Tensor:
        return values.to(device, dtype)

    return Coefficients(
        signal=column(table.signal),
        sigma=column(table.sigma),
        target_x=column(target_x),
        target_eps=column(target_eps),
        weight=column(weight),
        importance=column(spec.time.importance(table)),
        log_snr=column(embed_time(indices, table, "log_snr")),
        time=column(embed_time(indices, table, spec.model.time)),
        input_scale=None if input_scale is None else column(input_scale),
        x0_from_x=column(x0_from_x),
        x0_from_output=column(x0_from_output),
        posterior=None if step is None else Posterior(*(column(values) for values in vars(step).values())),
    )
