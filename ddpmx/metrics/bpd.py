"""How many bits the model needs for a pixel of a real image: the variational bound."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .. import ops
from ..components.registry import METRICS
from ..data import Data, Images
from ..errors import SpecError
from ..images import to_model
from ..ops import Noise, Purpose, stream
from ..theory.variance import Variance, posterior, prior_terms
from ..training.batch import Batch
from ..training.coefficients import coefficients
from ..training.predicted import bound_terms, predict
from .base import Metric, Reference, reference_images, reference_split
from .score import Score
from .subject import Subject


@METRICS.register(
    "bpd", paper="Ho et al. 2020, arXiv:2006.11239, eq. 5; Nichol & Dhariwal 2021, arXiv:2102.09672"
)
class Bpd(Metric):
    """Variational bound on −log₂ p of real images, in bits a dimension; lower is better.

    The ancestral chain over all T timesteps, whatever sampler draws the images::

        bpd = KL(q(x_T | x_0) ‖ prior) + Σ_t≥1 KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)) + decoder's −log₂ p(x_0 | x_t at t = 0)

    8-bit pixels, Ho et al.'s discretised decoder. Each image is taken at t = 0 and at `timesteps` of the others, one in each of as
    many equal parts, so the sum over t is an unbiased estimate. `bpd_prior` and `bpd_decoder` are the first and the last term.
    """

    needs_images: ClassVar[bool] = False
    reference: Reference = None
    """Which images; null: the test split where there is one, else the training images."""
    images: int | None = Field(1000, ge=2)
    """How many of them, the first ones; null: all."""
    timesteps: int | None = Field(20, ge=1)
    """At how many of the timesteps after the first each image is taken; null: at all."""
    variance: Variance | None = None
    """Variance of p(x_s | x_t): the sampler ddpm's posterior or beta, or the network's own; null: the network's own where it learns
    one, else posterior."""
    clip: bool = True
    """Bound the predicted x_0 to [−1, 1], as sampling does."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"bpd": …, "bpd_prior": …, "bpd_decoder": …}`. Raises SpecError for a schedule that has no such chain."""
        experiment = subject.experiment
        assert experiment is not None  # what measures the model itself is given it
        real = reference_images(subject.data, self.reference)
        count = min(self.images or len(real), len(real))
        variance: Variance = self.variance or (
            "learned" if experiment.spec.model.learns_variance else "posterior"
        )
        if variance == "learned" and not experiment.spec.model.learns_variance:
            raise SpecError("the network learns no variance", field="variance")
        labels = None if real.labels is None or not experiment.classes else real.labels[:count]
        terms = self._terms(subject, Images(real.pixels[:count], labels), variance)
        total = experiment.table.timesteps
        taken = total if self.timesteps is None else min(self.timesteps, total - 1) + 1

        def score(values: Tensor) -> Score:
            half = 1.96 * float(values.std()) / math.sqrt(count)
            mean = float(values.mean())
            return Score(
                value=mean,
                better="lower",
                n=count,
                seed=subject.seed,
                split=reference_split(subject.data, self.reference),
                preprocessing=f"8-bit pixels, {variance} variance, {taken} of {total} timesteps",
                interval=(mean - half, mean + half),
                interval_note="of the mean over images, by their standard deviation",
            )

        return {name: score(values) for name, values in terms.items()}

    @torch.no_grad()
    def _terms(self, subject: Subject, images: Images, variance: Variance) -> dict[str, Tensor]:
        """The bound of each image, and its first and last term: float64 [n]. x_0 and all sums are formed in float64."""
        experiment, network, seed = subject.experiment, subject.network, subject.seed
        assert experiment is not None
        assert network is not None
        table, q = experiment.table, posterior(experiment.table)
        exact = coefficients(experiment.spec, table, torch.device("cpu"), torch.float64)
        last = table.timesteps - 1
        draws = last if self.timesteps is None else min(self.timesteps, last)
        was_training = network.training
        network.eval()
        found: list[Tensor] = []
        parts = torch.arange(len(images)).split(experiment.spec.evaluate.batch_size)
        for done, ids in enumerate(parts):
            part = images.take(ids)
            x_start = to_model(part.pixels)
            between = torch.zeros(len(ids), dtype=torch.float64)
            for k in range(draws + 1):
                subject.progress("bits per dimension", done * (draws + 1) + k, len(parts) * (draws + 1))
                t = torch.zeros_like(ids)
                if k > 0:
                    u = ops.uniform(ids, stream(Purpose.BOUND_TIME, k), seed)
                    t = 1 + ((k - 1 + u) / draws * last).long()
                batch = Batch(x_start, t, Noise(seed, stream(Purpose.BOUND, k), ids), part.labels)
                bits = bound_terms(predict(experiment, network, batch, exact), q, variance, clip=self.clip)
                if k == 0:
                    decoder = bits
                else:
                    between += bits * last / draws
            prior = prior_terms(x_start.double(), table)
            found.append(torch.stack((prior + between + decoder, prior, decoder)))
        network.train(was_training)
        bound, prior, decoder = torch.cat(found, dim=1)
        return {"bpd": bound, "bpd_prior": prior, "bpd_decoder": decoder}
