"""Noise schedules: how much of the image and how much noise there is at each timestep.

A schedule is a rule; its `table()` is the numbers: x_t = signal[t]·x_0 + sigma[t]·ε, index 0 being the least noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from .errors import SpecError
from .registry import SCHEDULES, Component


def variance_preserving(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(signal, sigma) with signal² + sigma² = 1: signal² = sigmoid(log_snr), sigma² = sigmoid(−log_snr)."""
    return torch.exp(0.5 * F.logsigmoid(log_snr)), torch.exp(0.5 * F.logsigmoid(-log_snr))


@dataclass(frozen=True, eq=False)
class Table:
    """A schedule's numbers: x_t = signal·x_0 + sigma·ε, float64 CPU tensors of shape [T], index 0 = least noise.

    `from_log_snr` makes (signal, sigma) of the log-SNRs between the indices, as it did of those at them; the default
    is for variance-preserving tables.
    """

    signal: Tensor
    sigma: Tensor
    from_log_snr: Callable[[Tensor], tuple[Tensor, Tensor]] = variance_preserving

    @property
    def timesteps(self) -> int:
        """T, the number of indices."""
        return self.signal.shape[0]

    @property
    def log_snr(self) -> Tensor:
        """log(signal²/sigma²), strictly decreasing; only its ends may be infinite."""
        return 2 * (self.signal.log() - self.sigma.log())

    @property
    def sigma_ve(self) -> Tensor:
        """sigma/signal: what k-diffusion, EDM and diffusers' `sigmas` call sigma."""
        return self.sigma / self.signal

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ_t = signal². Raises SpecError when the table is not variance preserving."""
        self._require_variance_preserving("alpha_bar")
        return self.signal.square()

    @property
    def beta(self) -> Tensor:
        """β_t = 1 − ᾱ_t/ᾱ_{t−1}, with ᾱ_{−1} = 1. Raises SpecError when the table is not variance preserving."""
        self._require_variance_preserving("beta")
        # log ᾱ by the smaller of signal and sigma, which holds it without cancellation
        log_alpha_bar = torch.where(self.sigma < self.signal, torch.log1p(-self.sigma.square()), 2 * self.signal.log())
        return -torch.expm1(torch.diff(log_alpha_bar, prepend=log_alpha_bar.new_zeros(1)))

    def log_snr_at(self, t: Tensor) -> Tensor:
        """log-SNR at the indices `t`, float64 [n] in 0 … T−1: linear between whole ones.

        Raises SpecError outside that range, and inside an interval that ends in infinite log-SNR: it has no inside.
        """
        if not bool(((t >= 0) & (t <= self.timesteps - 1)).all()):
            raise SpecError(f"every index should be in 0 … {self.timesteps - 1}, not {t.tolist()}", field="timesteps")
        log_snr, below, above = self.log_snr, t.floor().long(), t.ceil().long()
        between = log_snr[below] + (t - below) * (log_snr[above] - log_snr[below])
        endless = (below != above) & ~between.isfinite()
        if bool(endless.any()):
            raise SpecError(
                f"index {t[endless][0]:g} is in an interval that ends in infinite log-SNR, which has no inside",
                field="timesteps",
                hint="use whole indices there",
            )
        return torch.where(below == above, log_snr[below], between)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at the indices `t`, float64 [n]: the table's own at whole ones, log-SNR linear between them.

        Raises SpecError as `log_snr_at` does.
        """
        signal, sigma = self.from_log_snr(self.log_snr_at(t))
        index = t.floor().long()
        whole = index == t
        return torch.where(whole, self.signal[index], signal), torch.where(whole, self.sigma[index], sigma)

    def _require_variance_preserving(self, what: str) -> None:
        if bool(((self.signal.square() + self.sigma.square() - 1).abs() > 1e-9).any()):
            raise SpecError(f"{what} is defined for variance-preserving schedules only: signal² + sigma² = 1")


class Schedule(Component):
    """Base of all schedules: override `beta` or `log_snr`, and `from_log_snr` if not variance preserving."""

    timesteps: int = Field(ge=1, le=100_000)
    """T, the number of noise levels that training draws from."""

    def beta(self) -> Tensor:
        """β_t, the variance that step t adds: float64 [T], each in (0, 1]. β = 1 destroys the signal: the last at most."""
        raise SpecError(f"the schedule '{self.component_name}' defines neither beta() nor log_snr()")

    def log_snr(self) -> Tensor:
        """log(signal²/sigma²): float64 [T], strictly decreasing. The first may be inf (clean), the last −inf (pure noise)."""
        beta = self._float64(self.beta(), "beta")
        wrong = ~((beta > 0) & (beta <= 1))
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise SpecError(f"the schedule '{self.component_name}' has β = {beta[index]:g} at index {index}; it should be in (0, 1]")
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at any log-SNR; elementwise. Variance exploding would be 1 and exp(−log_snr/2)."""
        return variance_preserving(log_snr)

    def table(self) -> Table:
        """The checked table. Raises SpecError that names the schedule and the index where the noise does not grow."""
        signal, sigma = self.from_log_snr(self._float64(self.log_snr(), "log_snr"))
        table = Table(signal, sigma, self.from_log_snr)
        log_snr = table.log_snr
        wrong = torch.cat([log_snr[:1].isnan(), ~(log_snr[1:] < log_snr[:-1])]) | ~(signal.isfinite() & sigma.isfinite())
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise SpecError(
                f"the schedule '{self.component_name}' should lose signal at every step, but its log-SNR goes from "
                f"{log_snr[max(index - 1, 0)]:g} to {log_snr[index]:g} at index {index}"
            )
        return table

    def _float64(self, values: Tensor, method: str) -> Tensor:
        """What an overridden method returned, as it should be: float64 [T] on the CPU."""
        name = f"{method}() of the schedule '{self.component_name}'"
        if not isinstance(values, Tensor):  # a plugin's author may forget
            raise SpecError(f"{name} should return a tensor, not {type(values).__name__}")
        if values.shape != (self.timesteps,) or values.dtype != torch.float64 or values.device.type != "cpu":
            given = f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)} on {values.device}"
            raise SpecError(f"{name} should return float64 [{self.timesteps}] on cpu, not {given}")
        return values


@SCHEDULES.register("linear", paper="Ho et al. 2020, arXiv:2006.11239")
class Linear(Schedule):
    """β grows linearly from beta_start to beta_end."""

    beta_start: float = Field(1e-4, gt=0, le=1)
    """β at the first index, with the least noise."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """β at the last index."""
    rescale: bool = False
    """Multiply β by 1000/T, so that any T ends as noisy as 1000 steps do (Nichol & Dhariwal's code); β above 1 is an error."""

    def beta(self) -> Tensor:
        scale = 1000 / self.timesteps if self.rescale else 1.0
        return torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64) * scale


@SCHEDULES.register("quadratic", paper="Song et al. 2020, arXiv:2010.02502")
class Quadratic(Schedule):
    """√β grows linearly from √beta_start to √beta_end."""

    beta_start: float = Field(1e-4, gt=0, le=1)
    """β at the first index, with the least noise."""
    beta_end: float = Field(0.02, gt=0, le=1)
    """β at the last index."""

    def beta(self) -> Tensor:
        return torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.timesteps, dtype=torch.float64).square()


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


@SCHEDULES.register("cosine", paper="Nichol & Dhariwal 2021, arXiv:2102.09672")
class Cosine(Schedule):
    """ᾱ follows cos²((t/T + s)/(1 + s)·π/2), with β clipped to [beta_min, beta_max].

    The first β is small but never 0, with beta_min 0 too: cos² falls in every step.
    """

    s: float = Field(0.008, ge=0)
    """Offset that keeps the first β from being too small."""
    beta_min: float = Field(0.0, ge=0, le=1)
    """Lower bound of β. The paper has none; the study used 1e-4."""
    beta_max: float = Field(0.999, gt=0, le=1)
    """Upper bound of β, which keeps some signal at the last index. The study used 0.9999."""

    def beta(self) -> Tensor:
        if self.beta_min > self.beta_max:
            raise SpecError(f"should be at most beta_max, {self.beta_max:g}, not {self.beta_min:g}", field="beta_min")
        angle = (torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps + self.s) / (1 + self.s) * (math.pi / 2)
        before, after = angle[:-1], angle[1:]
        # 1 − cos²(after)/cos²(before), by cos²a − cos²b = sin(b − a)·sin(b + a): nothing cancels
        beta = torch.sin(after - before) * torch.sin(after + before) / torch.cos(before).square()
        return beta.clamp(self.beta_min, self.beta_max)
