"""The variational bound of single images, for the metrics `bpd` and `bound_gap`."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from .. import ops
from ..data import Images
from ..errors import SpecError
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..theory.variance import Variance, posterior, prior_terms
from ..training.batch import Batch
from ..training.coefficients import coefficients
from ..training.experiment import Experiment
from ..training.predicted import bound_terms, predict
from .base import Metric
from .subject import Subject


class Bounds(NamedTuple):
    """The bound of each image, and its first and last term: float64 [n] each, in bits per dimension."""

    total: Tensor
    prior: Tensor
    decoder: Tensor


class BoundMetric(Metric):
    """Base of the metrics of the variational bound, whose formula is `Bpd`'s.

    Each image is evaluated at t = 0 and at `timesteps` of the others, one drawn from each of as many equal
    parts, so the sum over t is estimated without bias.
    """

    needs_images: ClassVar[bool] = False
    timesteps: int | None = Field(20, ge=1)
    """Number of timesteps after the first at which each image is evaluated; null: all."""
    variance: Variance | None = None
    """Variance of p(x_s | x_t): posterior or beta as in the sampler ddpm, or learned by the network; null:
    learned if the network learns it, else posterior."""
    clip: bool = True
    """Bound the predicted x_0 to [−1, 1], as sampling does."""

    def preprocessing(self, experiment: Experiment) -> str:
        """How the bound is evaluated, for `Score.preprocessing`."""
        total = experiment.table.timesteps
        evaluated = _draws(self.timesteps, total) + 1
        return f"8-bit pixels, {self.variance_of(experiment)} variance, {evaluated} of {total} timesteps"

    def variance_of(self, experiment: Experiment) -> Variance:
        """The variance that is used with this network.

        Raises SpecError if the network should have learned it, but did not.
        """
        learns = experiment.spec.model.learns_variance
        if self.variance == "learned" and not learns:
            hint = "model.learned_variance: true, or another variance"
            raise SpecError("the network learns no variance", field="variance", hint=hint)
        return self.variance or ("learned" if learns else "posterior")

    @torch.no_grad()
    def bounds(self, subject: Subject, images: Images, work: str) -> Bounds:
        """The bounds of real images, n ≥ 1, of which the i-th always has the same timesteps and noise.

        x_0 and all sums are float64. `work` is the name of the work, for `subject.progress`. Raises SpecError
        if the schedule has no such chain.
        """
        experiment, network, seed = subject.experiment, subject.network, subject.seed
        assert experiment is not None  # given to metrics that need no images
        assert network is not None
        variance = self.variance_of(experiment)
        labels = images.labels if experiment.classes else None
        images = Images(images.pixels, labels)
        table, q = experiment.table, posterior(experiment.table)
        exact = coefficients(experiment.spec, table, torch.device("cpu"), torch.float64)
        last, draws = table.timesteps - 1, _draws(self.timesteps, table.timesteps)
        was_training = network.training
        network.eval()
        chunks: list[Tensor] = []
        parts = torch.arange(len(images)).split(experiment.spec.evaluate.batch_size)
        for done, ids in enumerate(parts):
            part = images.take(ids)
            x_start = to_model(part.pixels)
            middle = torch.zeros(len(ids), dtype=torch.float64)
            for k in range(draws + 1):
                subject.progress(work, done * (draws + 1) + k, len(parts) * (draws + 1))
                t = torch.zeros_like(ids)
                if k > 0:
                    # one timestep in each of `draws` equal parts of 1…T−1
                    u = ops.uniform(ids, stream(Purpose.BOUND_TIME, k), seed)
                    t = 1 + ((k - 1 + u) / draws * last).long()
                batch = Batch(x_start, t, Noise(seed, stream(Purpose.BOUND, k), ids), part.labels)
                bits = bound_terms(predict(experiment, network, batch, exact), q, variance, clip=self.clip)
                if k == 0:
                    decoder = bits
                else:
                    middle += bits * last / draws
            prior = prior_terms(x_start.double(), table)
            chunks.append(torch.stack((prior + middle + decoder, prior, decoder)))  # [3, batch]
        network.train(was_training)
        return Bounds(*torch.cat(chunks, dim=1))


def first(images: Images, count: int | None) -> Images:
    """The first `count` images, or all if it is None or larger."""
    return Images(images.pixels[:count], None if images.labels is None else images.labels[:count])


def _draws(timesteps: int | None, total: int) -> int:
    """The number of timesteps after the first at which each image is evaluated."""
    return total - 1 if timesteps is None else min(timesteps, total - 1)
