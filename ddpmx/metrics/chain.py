"""The chain of p(x_s | x_t) whose variational bound is measured: over all timesteps, or a sampler's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ..objective.coefficients import Coefficients, coefficients
from ..samplers import Moments, Point, points
from ..samplers.moments import optimal_variance, relative_error
from ..schedules import Table
from ..theory.variance import Posterior, Variance, posterior
from ..training.experiment import Experiment, formulation
from ..training.moments import index_passes, measure_moments
from .subject import Subject

ChainVariance = Literal["posterior", "beta", "learned", "analytic"]
"""Variance of p(x_s | x_t): one of `theory.variance.Variance`, or the best one for the network."""


@dataclass(frozen=True)
class Chain:
    """Indices of an experiment's table, and the variance of the steps between them."""

    experiment: Experiment
    """The experiment with the table."""
    indices: tuple[float, ...]
    """The indices, ascending; they may be fractional."""
    variance: ChainVariance
    """The variance of p(x_s | x_t)."""

    @cached_property
    def table(self) -> Table:
        """Signal and sigma at the chain's indices: the table of the chain itself."""
        return Table(*self.experiment.table.at(torch.tensor(self.indices, dtype=torch.float64)))

    @cached_property
    def posterior(self) -> Posterior:
        """The posterior of each step. Raises SpecError for a single index, or one without noise."""
        return posterior(self.table)

    @cached_property
    def coefficients(self) -> Coefficients:
        """The coefficients at each index, float64 on the CPU."""
        indices = torch.tensor(self.indices, dtype=torch.float64)
        spec, table = self.experiment.spec, self.experiment.table
        return coefficients(formulation(spec), table, torch.device("cpu"), torch.float64, indices)

    @cached_property
    def points(self) -> list[Point]:
        """The points at each index."""
        return points(self.experiment.table, self.experiment.prediction, self.indices)

    def passes(self) -> int:
        """Forward passes of one image that the moments take."""
        return len(self.indices) * index_passes(self.experiment) if self.variance == "analytic" else 0

    def variances(self, moments: Moments | None) -> Variance | Tensor:
        """The variance as `bound_terms` takes it: for `analytic` its logarithm at each index.

        The decoder, at the chain's last index, has the posterior's for `analytic` too. The formula is for
        densities; the first and the last bin of 8-bit pixels extend to infinity, so that its variance would
        be too small for them.
        """
        if self.variance != "analytic":
            return self.variance
        assert moments is not None, "the variance 'analytic' needs moments"
        steps = [
            optimal_variance(moments.x0_variance(here), here, there) for there, here in pairwise(self.points)
        ]
        logs = torch.tensor(steps, dtype=torch.float64).log()
        return torch.cat((self.posterior.log_lower[:1], logs))

    def variance_error(self, moments: Moments | None) -> float | None:
        """The largest relative standard error of a step's variance; None if they are not estimated."""
        if moments is None:
            return None
        return max(relative_error(moments, here, there) for there, here in pairwise(self.points))


def moments_of(
    chain: Chain, subject: Subject, network: nn.Module, progress: Callable[[int, int], None]
) -> Moments | None:
    """The moments that the chain needs, from the subject or measured; None if it needs none."""
    if chain.variance != "analytic":
        return None
    if subject.measure_moments is not None:
        return subject.measure_moments(chain.indices)
    return measure_moments(chain.experiment, network, chain.indices, progress=progress)
