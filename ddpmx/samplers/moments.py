"""Moments of a network at table indices, for samplers whose steps depend on how well it denoises.

The variance of the clean image that is left, given x_t, follows from the mean square of the predicted noise
(Bao et al. 2022, arXiv:2201.06503, theorem 1), per element and for any signal and sigma::

    E Var(x_0 | x_t) = (sigma_t/signal_t)²·(1 − Γ_t)     Γ_t = E‖ε̂(x_t)‖²/d
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import SpecError
from .path import Point


@dataclass(frozen=True)
class Gamma:
    """Γ at one index, and its standard error."""

    value: float
    """Mean square of the predicted noise, per element."""
    error: float
    """Standard error of `value`."""


@dataclass(frozen=True)
class Moments:
    """Γ of one network at some table indices."""

    images: int
    """Number of training images that each Γ is a mean over."""
    variance: float
    """Variance of a pixel over training images, the mean over all pixels."""
    gammas: Mapping[float, Gamma]
    """Γ by index, which may be fractional."""

    def gamma(self, t: float) -> Gamma:
        """Γ at index t. Raises SpecError if it was not measured there."""
        try:
            return self.gammas[t]
        except KeyError:
            raise SpecError(
                f"the moments of the network lack index {t:g}", hint="measure them at all indices"
            ) from None

    def x0_variance(self, here: Point) -> float:
        """E Var(x_0 | x_t) per element at a point, within its bounds, see `most`."""
        gamma = self.gamma(here.t).value
        if here.signal == 0:  # x_t says nothing about x_0, and Γ neither
            return self.variance
        return min(max(here.sigma_ve**2 * (1 - gamma), 0.0), self.most(here))

    def x0_variance_error(self, here: Point) -> float:
        """The standard error of `x0_variance`, at most its whole range."""
        if here.signal == 0:
            return 0.0
        return min(here.sigma_ve**2 * self.gamma(here.t).error, self.most(here))

    def most(self, here: Point) -> float:
        """An upper bound of E Var(x_0 | x_t): the mean square error of the best linear estimate of x_0.

        With v, the variance of x_0, it is 1/(1/v + signal²/sigma²), and 0 is a lower bound. It is below both
        sigma²/signal² and v, and so below the upper bounds of Bao et al. 2022, theorem 2.
        """
        if self.variance == 0 or here.sigma == 0:
            return 0.0
        return 1 / (1 / self.variance + (here.signal / here.sigma) ** 2)


def optimal_variance(x0_variance: float, here: Point, there: Point) -> float:
    """The variance of p(x_s | x_t) with the least KL divergence, if its mean is E[x_s | x_t].

    From index t (`here`) to s (`there`), with q = SNR_t/SNR_s, it is the posterior's variance and the part
    that x_0 leaves uncertain (Bao et al. 2022, eq. 7)::

        sigma_s²·(1 − q) + (signal_s·(1 − q))²·E Var(x_0 | x_t)
    """
    rest = 1 - snr_ratio(here, there)
    return there.sigma**2 * rest + (there.signal * rest) ** 2 * x0_variance


def snr_ratio(here: Point, there: Point) -> float:
    """q = SNR_t/SNR_s from `here` (t) to `there` (s), which has less noise."""
    return (here.signal * there.sigma / (there.signal * here.sigma)) ** 2


def relative_error(moments: Moments, here: Point, there: Point) -> float:
    """The standard error of `optimal_variance` of these moments, divided by it."""
    variance = optimal_variance(moments.x0_variance(here), here, there)
    error = optimal_variance(moments.x0_variance_error(here), here, there) - optimal_variance(0, here, there)
    return error / variance if variance > 0 else math.inf if error > 0 else 0.0
