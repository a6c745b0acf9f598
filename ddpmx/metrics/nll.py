"""Bits per dimension of real images, by the probability-flow ODE and the decoder of `bpd`."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from ..components.registry import METRICS
from ..errors import SpecError
from ..objective.coefficients import coefficients
from ..ops import Purpose
from ..spec.schema import Spec
from ..theory.variance import Variance, posterior
from ..training.batch import Batch
from ..training.experiment import Experiment, formulation
from ..training.predicted import bound_terms, predict
from .likelihood import LikelihoodMetric, Point


@METRICS.register(
    "nll", paper="Song et al. 2021, arXiv:2011.13456, appendix D.2; Zheng et al. 2023, arXiv:2305.03935"
)
class Nll(LikelihoodMetric):
    """Upper bound on −log₂ P of real images, in bits per dimension, by the flow; lower is better.

    The flow is an ODE without noise whose density p is known at index 0. There an image x has become
    z = signal·x + sigma·ε, and the decoder of `bpd` gives the probability P of its 8-bit pixels::

        nll = E[−log₂ p(z) + log₂ q(z|x) − log₂ P(x|z)]/d

    It is a bound for the model that draws z from the flow and x from the decoder, and differs from that
    model's −log₂ P by the mean KL(q(z|x) ‖ P(z|x)). This gap depends on sigma[0], which therefore stands
    beside the value (Zheng et al. 2023 on such gaps). `bpd` measures another model, the ancestral chain:
    for the ideal network nll ≤ bpd, since the chain's steps lose bits and the flow has none.
    """

    purpose: ClassVar[Purpose] = Purpose.DENSITY
    variance: Variance | None = None
    """Variance of P(x|z): posterior or beta as in the sampler ddpm, or learned by the network; null: learned
    if the network learns it, else posterior."""
    clip: bool = False
    """Bound the decoder's mean to [−1, 1]. The flow is not bounded."""

    def check_spec(self, spec: Spec) -> None:
        super().check_spec(spec)
        if self.variance == "learned" and not spec.model.learns_variance:
            hint = "model.learned_variance: true, or another variance"
            raise SpecError("the network learns no variance", field="variance", hint=hint)

    def variance_of(self, spec: Spec) -> Variance:
        """The variance of P(x|z) for this spec's network."""
        return self.variance or ("learned" if spec.model.learns_variance else "posterior")

    def preprocessing(self, experiment: Experiment) -> str:
        return f"8-bit pixels, {self.variance_of(experiment.spec)} variance"

    def point(self, experiment: Experiment, network: nn.Module, batch: Batch) -> Point:
        table, variance = experiment.table, self.variance_of(experiment.spec)
        exact = coefficients(formulation(experiment.spec), table, torch.device("cpu"), torch.float64)
        predicted = predict(experiment, network, batch, exact)
        # −log₂ P(x|z) per dimension
        decoder = bound_terms(predicted, posterior(table), variance, clip=self.clip)
        noise = predicted.noise.given
        assert noise is not None  # drawn, as the batch is on the CPU
        # log q(z|x) = Σ −ε²/2 − log(sigma·√(2π))
        log_scale = math.log(float(table.sigma[0]) * math.sqrt(2 * math.pi))
        log_q = -(0.5 * noise.double().square() + log_scale).flatten(1).sum(1)
        nats_per_bit = math.log(2) * noise[0].numel()
        return Point(predicted.x_t.double(), log_q + nats_per_bit * decoder)
