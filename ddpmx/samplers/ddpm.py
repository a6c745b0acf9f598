"""Ancestral sampling (Ho et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from ..components.registry import SAMPLERS
from ..errors import SpecError
from ..rows import Row
from .base import Sampler
from .moments import optimal_variance, relative_error, snr_ratio
from .path import Point


@SAMPLERS.register("ddpm", paper="Ho et al. 2020, arXiv:2006.11239, algorithm 2")
class DDPM(Sampler):
    """Ancestral sampling: draws from q(x_s | x_t, x_0) at the predicted x_0; the last step adds no noise.

    From index t to s, the next on the grid, with q = SNR_t/SNR_s::

        x_s = signal_t/signal_s·sigma_s²/sigma_t²·x_t + signal_s·(1 − q)·x_0 + std·ε
        std² = sigma_s²·(1 − q)  (posterior)  or  sigma_t²·(1 − q)  (beta)
        std² = sigma_s²·(1 − q) + (signal_s·(1 − q))²·(sigma_t/signal_t)²·(1 − E‖ε̂(x_t)‖²/d)  (analytic)

    For s = t − 1 and a variance-preserving schedule the first two are β̃_t and β_t. `analytic` is the best
    variance for the mean above if the network is exact (Bao et al. 2022, arXiv:2201.06503). Its expectation
    is over training images, at the network's own prediction, without guidance or a bound on x_0; it is
    measured before sampling and kept in the run, and bounded as in their theorem 2, with the variance of the
    training images in the upper bound. Their lower variance in the last step but one is left out: it assumes
    that the chain ends at index 0. With `learned_range` the network interpolates between the logarithms of
    the first two for each element (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 15).
    """

    variance: Literal["posterior", "beta", "learned_range", "analytic"] = "posterior"
    """Variance of the added noise. `posterior` (fixed_small in diffusers) is exact for data that are a single
    point, `beta` (fixed_large) for data of unit variance, and `analytic` for all Gaussian data.
    `learned_range` needs a model with learned_variance."""

    @property
    def learns_variance(self) -> bool:
        return self.variance == "learned_range"

    @property
    def needs_moments(self) -> bool:
        return self.variance == "analytic"

    def variance_error(self, path: Sequence[Point]) -> float | None:
        if not self.needs_moments or self.moments is None:
            return None
        return max((relative_error(self.moments, *pair) for pair in pairwise(path)), default=0.0)

    def step(self, here: Point, there: Point) -> Row:
        q = snr_ratio(here, there)
        # std of the added noise: sigma_s·√(1 − q) and sigma_t·√(1 − q)
        posterior, beta = (sigma * math.sqrt(1 - q) for sigma in (there.sigma, here.sigma))
        if self.learns_variance and there.sigma == 0:
            raise SpecError(
                f"learned_range has no lower bound at index {here.t:g}, because the next index, {there.t:g}, "
                "has no noise",
                field="variance",
            )
        # without moments, a row to be counted
        x0_variance = self.moments.x0_variance(here) if self.moments else 0.0
        analytic = math.sqrt(optimal_variance(x0_variance, here, there))
        c_noise = {"posterior": posterior, "beta": beta, "learned_range": 1.0, "analytic": analytic}
        return Row(
            here.t,
            here.x0_from_x,
            here.x0_from_output,
            c_x=here.signal / there.signal * (there.sigma / here.sigma) ** 2,
            c_x0=there.signal * (1 - q),
            c_noise=c_noise[self.variance],
            noise_range=(math.log(posterior), math.log(beta)) if self.learns_variance else None,
        )
