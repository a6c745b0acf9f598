"""Schedules in which β or ᾱ follows a sigmoid."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from ..components.registry import SCHEDULES
from .base import Schedule


@SCHEDULES.register("sigmoid", paper="Xu et al. 2022 (GeoDiff), arXiv:2203.02923")
class Sigmoid(Schedule):
    """β follows a sigmoid over −6 … 6, scaled to run from beta_start to beta_end."""

    beta_start: float = Field(1e-4, gt=0, le=1)
    """The value that β is close to at index 0."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """The value that β is close to at the last index."""

    def beta(self) -> Tensor:
        # β_t = beta_start + (beta_end − beta_start)·σ(x_t), x_t from −6 to 6
        sigmoid = torch.linspace(-6, 6, self.timesteps, dtype=torch.float64).sigmoid()
        return self.beta_start + (self.beta_end - self.beta_start) * sigmoid


@SCHEDULES.register(
    "sigmoid_alpha_bar", paper="Jabri et al. 2022, arXiv:2212.11972; clip_min: Chen 2023, arXiv:2301.10972"
)
class SigmoidAlphaBar(Schedule):
    """ᾱ falls from 1 to 0 along a section of the logistic sigmoid σ.

    With t = (index + 1)/T and x = (start + (end − start)·t)/tau::

        ᾱ(t) = max((σ(end/tau) − σ(x))/(σ(end/tau) − σ(start/tau)), clip_min)

    It is an error if clip_min applies to more than the last index, because log-SNR would then not fall.
    """

    start: float = -3.0
    """Argument of the sigmoid at t = 0, before division by tau; must be less than end."""
    end: float = 3.0
    """Argument of the sigmoid at t = 1, before division by tau."""
    tau: float = Field(1.0, gt=0)
    """Temperature that divides the argument: a smaller tau makes the fall steeper in the middle."""
    clip_min: float = Field(1e-9, ge=0, lt=1)
    """Lower bound of ᾱ, reached at the last index; with 0 the last index is pure noise."""

    def log_snr(self) -> Tensor:
        self._require_below("start", "end")
        t = torch.arange(1, self.timesteps + 1, dtype=torch.float64) / self.timesteps
        start, end = self.start / self.tau, self.end / self.tau
        # SNR = ᾱ/(1 − ᾱ) = (σ(end) − σ(x))/(σ(x) − σ(start)), start and end divided by tau; to avoid
        # cancellation, σ(b) − σ(a) = sinh((b − a)/2)/(2·cosh(a/2)·cosh(b/2)), in which cosh(x/2) divides out
        # to_end = (end − x)/2 and from_start = (x − start)/2: [T]
        to_end, from_start = (end - start) * (1 - t) / 2, (end - start) * t / 2
        log_snr = _log_sinh(to_end) - _log_sinh(from_start) + _log_cosh(start / 2) - _log_cosh(end / 2)
        return log_snr.clamp(min=torch.tensor(self.clip_min, dtype=torch.float64).logit())


def _log_sinh(x: Tensor) -> Tensor:
    """log(2·sinh x) for x ≥ 0, without overflow."""
    return x + torch.log(-torch.expm1(-2 * x))


def _log_cosh(x: float) -> float:
    """log(2·cosh x), without overflow."""
    return abs(x) + math.log1p(math.exp(-2 * abs(x)))
