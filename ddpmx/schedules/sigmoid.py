"""Sigmoids: of β, and of ᾱ."""

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
    """The value that β leaves at the first indices."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """The value that β approaches at the last indices."""

    def beta(self) -> Tensor:
        share = torch.linspace(-6, 6, self.timesteps, dtype=torch.float64).sigmoid()
        return self.beta_start + (self.beta_end - self.beta_start) * share


@SCHEDULES.register(
    "sigmoid_alpha_bar", paper="Jabri et al. 2022, arXiv:2212.11972; clip_min: Chen 2023, arXiv:2301.10972"
)
class SigmoidAlphaBar(Schedule):
    """ᾱ falls from 1 as a sigmoid does between two of its arguments, scaled to reach 0 at the end.

    With x = (start + (end − start)·t)/tau, σ the logistic sigmoid and t = (index + 1)/T::

        ᾱ(t) = max((σ(end/tau) − σ(x))/(σ(end/tau) − σ(start/tau)), clip_min)

    Raises SpecError where clip_min holds at more than the last index: then log-SNR would not fall.
    """

    start: float = -3.0
    """Argument of the sigmoid at t = 0; less than end."""
    end: float = 3.0
    """Argument of the sigmoid at t = 1."""
    tau: float = Field(1.0, gt=0)
    """Temperature that divides both arguments: the smaller, the steeper the fall in the middle."""
    clip_min: float = Field(1e-9, ge=0, lt=1)
    """Lower bound of ᾱ, met at the last index; 0: that one is pure noise."""

    def log_snr(self) -> Tensor:
        self._require_below("start", "end")
        t = torch.arange(1, self.timesteps + 1, dtype=torch.float64) / self.timesteps
        start, end = self.start / self.tau, self.end / self.tau
        # ᾱ/(1 − ᾱ) by σ(b) − σ(a) = sinh((b − a)/2)/(2·cosh(a/2)·cosh(b/2)), where nothing cancels
        left, gone = (end - start) * (1 - t) / 2, (end - start) * t / 2
        log_snr = _log_sinh(left) - _log_sinh(gone) + _log_cosh(start / 2) - _log_cosh(end / 2)
        return log_snr.clamp(min=torch.tensor(self.clip_min, dtype=torch.float64).logit())


def _log_sinh(x: Tensor) -> Tensor:
    """log(2·sinh x) for x ≥ 0, which does not overflow."""
    return x + torch.log(-torch.expm1(-2 * x))


def _log_cosh(x: float) -> float:
    """log(2·cosh x), which does not overflow."""
    return abs(x) + math.log1p(math.exp(-2 * abs(x)))
