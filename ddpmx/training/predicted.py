"""A network's prediction for a noised batch, for the training loss, the validation and the metric `bpd`.

The coefficients determine the precision. The experiment's own are float32 on its device. `coefficients(…,
torch.float64)` on the CPU give x_0 in float64, while the network still runs in its own precision on its own
device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..objective.coefficients import Coefficients
from ..objective.steps import noised
from ..ops import Noise
from ..theory.variance import Posterior, Variance, vlb_terms
from .batch import Batch

if TYPE_CHECKING:
    from .experiment import Experiment

Network = Callable[..., Tensor]
"""network(x, time), or network(x, time, labels) for one with classes."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A network's prediction for a noised batch; tensors are [b, c, h, w] on the batch's device."""

    batch: Batch
    """The clean images, timesteps and labels."""
    coefficients: Coefficients
    """The coefficients that the batch was noised with."""
    x_t: Tensor
    """The noised images."""
    noise: Noise
    """ε, kept in memory for the loss, except on a GPU, where generating it again is cheaper than reading
    it."""
    output: Tensor
    """The network's prediction; the first half of its channels if it learns the variance."""
    v: Tensor | None
    """The second half of the network's channels if it learns the variance, else None."""

    @property
    def x0(self) -> Tensor:
        """The clean images implied by the output, not clipped, in the precision of the coefficients."""
        return self.coefficients.x0(self.x_t, self.output, self.batch.t)


def predict(
    experiment: Experiment, network: Network, batch: Batch, exact: Coefficients | None = None
) -> Predicted:
    """Noise the batch, and run the network on it. `exact` replaces the experiment's coefficients.

    A self-conditioned network runs twice if the batch says so: first on zeros and without gradient, then on
    the x_0 that this gives. Otherwise it runs once, on zeros (Chen et al. 2022, arXiv:2208.04202, algorithm
    1). The batch has to be on the device of the coefficients.
    """
    c, t, x_start = exact or experiment.coefficients, batch.t, batch.x_start
    x_t, noise = noised(c, x_start, t, batch.noise)
    scale = None if c.input_scale is None else c.input_scale[t]
    condition = [c.time[t].float()] if batch.labels is None else [c.time[t].float(), batch.labels]
    condition = [values.to(experiment.device) for values in condition]

    def run(x0: Tensor | None) -> Tensor:
        network_input = experiment.network_input(x_t, scale, x0).to(experiment.device)
        with experiment.autocast():
            return network(network_input, *condition).to(x_t.device)

    channels, estimate = x_start.shape[1], None
    if batch.estimate_first and experiment.spec.model.self_conditioned:
        with torch.no_grad():
            estimate = c.x0(x_t, run(None)[:, :channels], t).clamp(-1, 1)
    # [b, c or 2c, h, w] to [b, c, h, w] each
    output, *v = run(estimate).split(channels, dim=1)
    return Predicted(batch, c, x_t, noise, output, v[0] if v else None)


def bound_terms(
    predicted: Predicted, q: Posterior, variance: Variance | Tensor | None = None, *, clip: bool = False
) -> Tensor:
    """The terms of the variational bound at the batch's timesteps, in bits per dimension: [b].

    They have the dtype and device of `q`. `variance` is that of p(x_s | x_t): its kind, or its logarithm at
    each index, [T]; None means the learned one if the network learns it, else the posterior's. `clip` bounds
    the predicted x_0 to [−1, 1]. The gradient reaches only the variance, not the mean.
    """

    def like_q(values: Tensor) -> Tensor:
        return values.to(q.log_lower.device).to(q.log_lower.dtype)  # device first: MPS has no float64

    t, x0 = predicted.batch.t.to(q.log_lower.device), like_q(predicted.x0.detach())
    if isinstance(variance, Tensor):
        log_variance = like_q(variance)[t].view(-1, 1, 1, 1)
    elif variance == "learned" or (variance is None and predicted.v is not None):
        assert predicted.v is not None, "the network learns no variance"
        log_variance = q.log_variance(like_q(predicted.v), t)
    else:
        log_variance = (q.log_upper if variance == "beta" else q.log_lower)[t].view(-1, 1, 1, 1)
    return vlb_terms(
        like_q(predicted.batch.x_start),
        like_q(predicted.x_t),
        x0.clamp(-1, 1) if clip else x0,
        log_variance,
        t,
        q,
    )
