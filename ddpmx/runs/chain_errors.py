"""Terms of the variational bound of any ancestral chain of a network, from its error at single timesteps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import ops
from ..data import Images
from ..images import to_model
from ..metrics.chain import Chain
from ..ops import Noise, Purpose, stream
from ..samplers import Moments
from ..theory.variance import gaussian_kl, pixel_log_likelihood, prior_terms
from ..training.experiment import Experiment
from ..training.moments import predicted_x0

LN2 = float(np.log(2))


@dataclass(frozen=True)
class ChainErrors:
    """A network's errors on some real images, each with the same ε at every timestep."""

    experiment: Experiment
    """The network's experiment."""
    network: nn.Module
    """The network, in evaluation mode."""
    images: Images
    """The images, n of them."""
    clip: bool
    """Whether the predicted x_0 is bounded to [−1, 1]."""
    _errors: dict[float, Tensor] = field(default_factory=dict)

    def measure(
        self, indices: list[float], each: Callable[[int, Tensor], None] = lambda done, x0: None
    ) -> None:
        """Measure the errors at these indices; `each` gets an index's number, and x_0 predicted there."""
        for number, t in enumerate(indices):
            x0 = self.x0(t)
            self._errors[t] = (x0 - self.x_start).square().flatten(1).mean(1)
            each(number, x0)

    @cached_property
    def x_start(self) -> Tensor:
        """The images, float64 [n, c, h, w] in [−1, 1]."""
        return to_model(self.images.pixels).double()

    @torch.no_grad()
    def x0(self, t: float) -> Tensor:
        """x_0 as the network predicts it from x_t at index t: float64 [n, c, h, w]."""
        experiment, parts = self.experiment, list[Tensor]()
        at = torch.tensor([t], dtype=torch.float64)
        signal, sigma = (float(column) for column in experiment.table.at(at))
        for ids in torch.arange(len(self.images)).split(experiment.spec.evaluate.batch_size):
            part = self.images.take(ids)
            x_start = to_model(part.pixels).to(experiment.device)
            noise = Noise(experiment.spec.evaluate.seed, stream(Purpose.STEPS, 0), ids.to(experiment.device))
            x_t = signal * x_start + sigma * ops.normal(noise=noise, shape=x_start.shape[1:])
            times = torch.full((len(ids),), t, dtype=torch.float64)
            labels = part.labels if experiment.classes else None
            parts.append(predicted_x0(experiment, self.network, x_t, times, labels))
        x0 = torch.cat(parts)
        return x0.clamp(-1, 1) if self.clip else x0

    def mean_error(self, t: float) -> float:
        """The mean square error of x_0 at an index that was measured."""
        return float(self._errors[t].mean())

    def decoder_bits(self, x0: Tensor, log_variances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The decoder's mean term for x_0 predicted at the last index, at each log variance, in bits."""
        x_start = self.x_start
        nats = [
            -float(pixel_log_likelihood(x_start, x0, torch.tensor(log, dtype=torch.float64)).mean())
            for log in log_variances.tolist()
        ]
        return np.array(nats) / LN2

    def bits(self, chain: Chain, moments: Moments | None) -> Tensor:
        """The bound of each image for a chain with a fixed variance, in bits per dimension: float64 [n]."""
        missing = [t for t in chain.indices if t not in self._errors]
        self.measure(missing)
        q, variances = chain.posterior, chain.variances(moments)
        fixed = {"posterior": q.log_lower, "beta": q.log_upper}
        logs = fixed[variances] if isinstance(variances, str) else variances
        x_start = self.x_start
        decoder = -pixel_log_likelihood(x_start, self.x0(chain.indices[0]), logs[0]).flatten(1).mean(1)
        errors = torch.stack([self._errors[t] for t in chain.indices[1:]])  # [k − 1, n]
        # the means differ by c_x0·(x_0 − its prediction), of which a step's term needs the mean square
        apart, lower, logs_p = q.c_x0[1:, None] * errors.sqrt(), q.log_lower[1:, None], logs[1:, None]
        kl = gaussian_kl(apart, lower, torch.zeros_like(apart), logs_p)
        return prior_terms(x_start, chain.table) + (kl.sum(0) + decoder) / LN2
