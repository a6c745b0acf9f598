"""Bits per dimension of real images, by the probability-flow ODE and uniform dequantisation."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import nn

from .. import ops
from ..components.registry import METRICS
from ..ops import Purpose
from ..theory.variance import HALF_BIN
from ..training.batch import Batch
from ..training.experiment import Experiment
from .likelihood import LikelihoodMetric, Point


@METRICS.register(
    "nll_uniform",
    paper="Song et al. 2021, arXiv:2011.13456, appendix D.2; Theis et al. 2016, arXiv:1511.01844, "
    "section 3.1; Zheng et al. 2023, arXiv:2305.03935",
)
class NllUniform(LikelihoodMetric):
    """Upper bound on −log₂ P of real images as papers report it, in bits per dimension; lower is better.

    Each 8-bit pixel becomes a uniformly drawn point x' of its own bin, and the density of the flow at index 0
    is evaluated there, as if index 0 had no noise::

        nll_uniform = E[−log₂ p(x')]/d + log₂(255/2)

    It is a bound for the model that draws from the flow and rounds to the bins. It uses no decoder, and
    ignores signal[0] and sigma[0]: if sigma[0] is much larger than half a bin, 1/255, it measures a model of
    noisy images at clean ones. Zheng et al. 2023 measure this gap; sigma[0] stands beside the value.
    """

    purpose: ClassVar[Purpose] = Purpose.DEQUANTISE

    def preprocessing(self, experiment: Experiment) -> str:
        return "8-bit pixels, each dequantised within its bin"

    def point(self, experiment: Experiment, network: nn.Module, batch: Batch) -> Point:
        x = batch.x_start.double()
        # Φ of a normal number is uniform in 0 … 1
        uniform = torch.special.ndtr(ops.normal(noise=batch.noise, shape=x.shape[1:]).double())
        nats = torch.full((len(x),), -x[0].numel() * math.log(2 * HALF_BIN), dtype=torch.float64)
        return Point(x + (2 * uniform - 1) * HALF_BIN, nats)
