"""The variational bound of a sampling step, with which a network learns the step's variance.

Ho et al. 2020, arXiv:2006.11239; Nichol & Dhariwal 2021, arXiv:2102.09672.

With s = t−1 (the clean image for t = 0), x_t = signal·x_0 + sigma·ε and q = SNR_t/SNR_s, for any signal and
sigma::

    q(x_s | x_t, x_0) = N(c_x·x_t + c_x0·x_0, sigma_s²·(1 − q))
    c_x = signal_t/signal_s·sigma_s²/sigma_t²     c_x0 = signal_s·(1 − q)

All functions are differentiable and take float32 or float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.special import log_ndtr

from ..errors import SpecError
from ..schedules import Table

HALF_BIN = 1 / 255
"""Half the distance between 8-bit pixel values in [−1, 1]."""
END_BIN = 0.999
"""Pixels with a larger absolute value are in the first or the last bin, which extends to infinity."""

Variance = Literal["posterior", "beta", "learned"]
"""Variance of p(x_s | x_t): `log_lower`, `log_upper`, or an interpolation between them by the network."""


@dataclass(frozen=True)
class Posterior:
    """q(x_s | x_t, x_0) and the two bounds of the variance of p(x_s | x_t), at each index: [T] each."""

    c_x: Tensor
    """Coefficient of x_t in the mean."""
    c_x0: Tensor
    """Coefficient of x_0 in the mean."""
    log_lower: Tensor
    """log of the posterior's variance sigma_s²·(1 − q), which is β̃_t for a variance-preserving schedule. It
    is 0 at index 0, which has the value of index 1 instead."""
    log_upper: Tensor
    """log of sigma_t²·(1 − q), which is β_t for a variance-preserving schedule."""

    def mean(self, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """The mean of q(x_s | x_t, x_0) for x_t and x_0 [b, …] at indices t [b]."""
        return _gather(self.c_x, t, x_t) * x_t + _gather(self.c_x0, t, x_t) * x_0

    def log_variance(self, v: Tensor, t: Tensor) -> Tensor:
        """Interpolation between the bounds for v [b, …] at indices t [b]: lower at v = −1, upper at v = 1.

        Nichol & Dhariwal 2021, eq. 15.
        """
        # (v + 1)/2·log upper + (1 − (v + 1)/2)·log lower
        fraction = (v + 1) / 2
        return fraction * _gather(self.log_upper, t, v) + (1 - fraction) * _gather(self.log_lower, t, v)


def posterior(table: Table) -> Posterior:
    """The posterior of a table, float64.

    Raises SpecError if it has a single timestep or an index without noise.
    """
    if table.timesteps == 1:
        raise SpecError("a learned variance needs at least 2 timesteps, and the schedule has 1")
    signal, sigma, log_snr = table.signal, table.sigma, table.log_snr
    signal_s = torch.cat([signal.new_ones(1), signal[:-1]])
    sigma_s = torch.cat([sigma.new_zeros(1), sigma[:-1]])
    # q = SNR_t/SNR_s
    one_minus_q = -torch.expm1(torch.diff(log_snr, prepend=log_snr.new_full((1,), math.inf)))
    lower = sigma_s.square() * one_minus_q
    lower[0] = lower[1]
    upper = sigma.square() * one_minus_q
    if not bool((lower > 0).all() & (upper > 0).all()):
        raise SpecError("a learned variance needs noise at every index, and index 0 has none")
    # c_x = signal_t/signal_s·sigma_s²/sigma_t², c_x0 = signal_s·(1 − q)
    c_x = signal / signal_s * (sigma_s / sigma).square()
    return Posterior(c_x, signal_s * one_minus_q, lower.log(), upper.log())


def vlb_terms(
    x_start: Tensor, x_t: Tensor, x0_pred: Tensor, log_variance: Tensor, t: Tensor, q: Posterior
) -> Tensor:
    """The terms of the variational bound at indices t [b], in bits per dimension, [b].

    The bound's sum over t is T times the mean term. At t > 0 a term is KL(q(x_s | x_t, x_0) ‖ N(mean,
    exp(log_variance))), at t = 0 −log p(x_0 | x_t) of 8-bit pixels in [−1, 1]. The mean is q's, with
    `x0_pred` (not clipped) in place of x_0. Images are [b, …]; `log_variance` has the same shape or
    broadcasts to it. Ho et al. 2020, eq. 5 and 13.
    """
    mean = q.mean(x_t, x0_pred, t)
    kl = gaussian_kl(q.mean(x_t, x_start, t), _gather(q.log_lower, t, x_t), mean, log_variance)
    is_decoder = (t == 0).view(-1, *[1] * (x_t.ndim - 1))
    nats = torch.where(is_decoder, -pixel_log_likelihood(x_start, mean, log_variance), kl)
    return nats.flatten(1).mean(1) / math.log(2)


def prior_terms(x_start: Tensor, table: Table) -> Tensor:
    """KL of q(x_T | x_0) from sampling's starting noise N(0, signal² + sigma²), in bits per dimension, [b].

    The term L_T of Ho et al. 2020, eq. 5.
    """
    signal, sigma = float(table.signal[-1]), float(table.sigma[-1])
    total = signal**2 + sigma**2
    # ½·(log(total/sigma²) + (sigma² + signal²·x_0²)/total − 1)
    nats = 0.5 * (math.log1p((signal / sigma) ** 2) + signal**2 * (x_start.square() - 1) / total)
    return nats.flatten(1).mean(1) / math.log(2)


def gaussian_kl(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(other_mean, exp(other_log_variance))) per element, in nats."""
    ratio = log_variance - other_log_variance
    return 0.5 * (ratio.exp() - 1 - ratio + (mean - other_mean).square() * torch.exp(-other_log_variance))


def pixel_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log probability of the 8-bit bin around x in [−1, 1] under N(mean, exp(log_variance)), per element.

    The bins are 2/255 wide, and the first and the last extend to infinity: Ho et al. 2020, eq. 13. The result
    is exact even far from the mean, where the difference of two values of the cumulative distribution
    function would be 0.
    """
    scale = torch.exp(-0.5 * log_variance)
    low, high = (x - HALF_BIN - mean) * scale, (x + HALF_BIN - mean) * scale
    # a bin above the mean is mirrored to below it, where log_ndtr is exact
    is_above = low > 0
    near, far = torch.where(is_above, -low, high), torch.where(is_above, -high, low)
    # log(Φ(near) − Φ(far)) = log Φ(near) + log(1 − Φ(far)/Φ(near))
    gap = log_ndtr(near) - log_ndtr(far)
    inside = log_ndtr(near) + torch.log(-torch.expm1(-gap.clamp(min=torch.finfo(x.dtype).tiny)))
    return torch.where(x < -END_BIN, log_ndtr(high), torch.where(x > END_BIN, log_ndtr(-low), inside))


def _gather(column: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """column[t] as [b, 1, …], with the number of dimensions of `like`."""
    return column[t].view(-1, *[1] * (like.ndim - 1))
