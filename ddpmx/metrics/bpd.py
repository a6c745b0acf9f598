"""Bits per dimension of real images, by the variational bound."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ..components.registry import METRICS
from ..data import Data
from .base import Reference, reference_images
from .bound import BoundMetric, first
from .per_image import mean_over_images
from .score import Score, variance_facts
from .subject import Subject


@METRICS.register(
    "bpd", paper="Ho et al. 2020, arXiv:2006.11239, eq. 5; Nichol & Dhariwal 2021, arXiv:2102.09672"
)
class Bpd(BoundMetric):
    """Variational bound on −log₂ p of real images, in bits per dimension; lower is better.

    It is the bound of the ancestral chain over all T timesteps, whichever sampler generates images, or with
    `chain: sampler` that of evaluate.sampler's own chain, whose steps from t to s may skip timesteps::

        bpd = KL(q(x_T | x_0) ‖ prior) + Σ_t≥1 KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)) − log₂ p(x_0 | x_t, t = 0)

    Pixels have 8 bits, and the decoder is Ho et al.'s discretised one. At its t, the chain's last, the
    variance `posterior` is that of the step before. Each image is evaluated at this t and at `timesteps` of
    the others, one drawn from each of as many equal parts, so the sum over t is estimated without bias.
    `bpd_prior` and `bpd_decoder` are the first and the last term.
    """

    score_suffixes: ClassVar[tuple[str, ...]] = ("", "_prior", "_decoder")
    reference: Reference = None
    """Split of the real images; null: the test split if there is one, else the training images."""
    images: int | None = Field(1000, ge=2)
    """Number of images, taken from the start of the split; null: all."""

    def check(self, data: Data) -> None:
        reference_images(data, self.reference)

    def compute(self, subject: Subject) -> dict[str, Score]:
        """`{"bpd": …, "bpd_prior": …, "bpd_decoder": …}`.

        Raises SpecError if the schedule has no such chain.
        """
        experiment = subject.experiment
        assert experiment is not None  # given to metrics that need no images
        real = first(reference_images(subject.data, self.reference), self.images)
        bounds = self.bounds(subject, real, "bits per dimension")
        facts = variance_facts(bounds.variance_error)

        names = (f"bpd{suffix}" for suffix in self.score_suffixes)
        how = self.preprocessing(experiment)
        return {
            name: mean_over_images(self, subject, values, how, facts=facts)
            for name, values in zip(names, bounds[:3], strict=True)
        }
