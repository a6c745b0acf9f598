"""Bits per dimension of real images, by the variational bound."""

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
    """Variational bound on −log₂ p of real images, in bits per dimension; lower is better.

    It is the bound of the ancestral chain over all T timesteps, whichever sampler generates images::

        bpd = KL(q(x_T | x_0) ‖ prior) + Σ_t≥1 KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)) − log₂ p(x_0 | x_t, t = 0)

    Pixels have 8 bits, and the decoder is Ho et al.'s discretised one. Each image is evaluated at t = 0 and
    at `timesteps` of the others, one drawn from each of as many equal parts, so the sum over t is estimated
    without bias. `bpd_prior` and `bpd_decoder` are the first and the last term.
    """

    needs_images: ClassVar[bool] = False
    score_suffixes: ClassVar[tuple[str, ...]] = ("", "_prior", "_decoder")
    reference: Reference = None
    """Split of the real images; null: the test split if there is one, else the training images."""
    images: int | None = Field(1000, ge=2)
    """Number of images, taken from the start of the split; null: all."""
    timesteps: int | None = Field(20, ge=1)
    """Number of timesteps after the first at which each image is evaluated; null: all."""
    variance: Variance | None = None
    """Variance of p(x_s | x_t): posterior or beta as in the sampler ddpm, or learned by the network; null:
    learned if the network learns it, else posterior."""
    clip: bool = True
    """Bound the predicted x_0 to [−1, 1], as sampling does."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"bpd": …, "bpd_prior": …, "bpd_decoder": …}`.

        Raises SpecError if the schedule has no such chain.
        """
        experiment = subject.experiment
        assert experiment is not None  # given to metrics that need no images
        real = reference_images(subject.data, self.reference)
        count = min(self.images or len(real), len(real))
        variance: Variance = self.variance or (
            "learned" if experiment.spec.model.learns_variance else "posterior"
        )
        if variance == "learned" and not experiment.spec.model.learns_variance:
            hint = "model.learned_variance: true, or another variance"
            raise SpecError("the network learns no variance", field="variance", hint=hint)
        labels = None if real.labels is None or not experiment.classes else real.labels[:count]
        terms = self._terms(subject, Images(real.pixels[:count], labels), variance)
        total = experiment.table.timesteps
        evaluated = total if self.timesteps is None else min(self.timesteps, total - 1) + 1

        def score(values: Tensor) -> Score:
            half = 1.96 * float(values.std()) / math.sqrt(count)
            mean = float(values.mean())
            return Score(
                value=mean,
                better="lower",
                n=count,
                seed=subject.seed,
                split=reference_split(subject.data, self.reference),
                preprocessing=f"8-bit pixels, {variance} variance, {evaluated} of {total} timesteps",
                interval=(mean - half, mean + half),
                interval_note="of the mean over images, from their standard deviation",
                values=values,
                values_of="images",
            )

        return {name: score(values) for name, values in terms.items()}

    @torch.no_grad()
    def _terms(self, subject: Subject, images: Images, variance: Variance) -> dict[str, Tensor]:
        """The bound of each image, and its first and last term: float64 [n] each.

        x_0 and all sums are float64.
        """
        experiment, network, seed = subject.experiment, subject.network, subject.seed
        assert experiment is not None
        assert network is not None
        table, q = experiment.table, posterior(experiment.table)
        exact = coefficients(experiment.spec, table, torch.device("cpu"), torch.float64)
        last = table.timesteps - 1
        draws = last if self.timesteps is None else min(self.timesteps, last)
        was_training = network.training
        network.eval()
        chunks: list[Tensor] = []
        parts = torch.arange(len(images)).split(experiment.spec.evaluate.batch_size)
        for done, ids in enumerate(parts):
            part = images.take(ids)
            x_start = to_model(part.pixels)
            middle = torch.zeros(len(ids), dtype=torch.float64)
            for k in range(draws + 1):
                subject.progress("bits per dimension", done * (draws + 1) + k, len(parts) * (draws + 1))
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
        bound, prior, decoder = torch.cat(chunks, dim=1)
        return {"bpd": bound, "bpd_prior": prior, "bpd_decoder": decoder}
