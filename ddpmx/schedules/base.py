"""What all schedules share: how much of the image and how much noise there is at each timestep.

A schedule is a rule; its `table()` is the numbers: x_t = signal[t]·x_0 + sigma[t]·ε, index 0 being the least noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import instance, numbers, pair
from ..plugins.guard import Contract


def variance_preserving(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(signal, sigma) with signal² + sigma² = 1: signal² = sigmoid(log_snr), sigma² = sigmoid(−log_snr)."""
    return torch.exp(0.5 * F.logsigmoid(log_snr)), torch.exp(0.5 * F.logsigmoid(-log_snr))


def rescale_zero_terminal_snr(signal: Tensor, sigma: Tensor) -> Tensor:
    """log-SNR of a variance-preserving table whose signal is rescaled so that the last is 0 and the first unchanged.

    signal'[t] = signal[0]·(signal[t] − signal[T−1])/(signal[0] − signal[T−1]); float64 [T], T ≥ 2; the last is −inf.
    Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    share = signal[0] / (signal[0] - signal[-1])
    gap = sigma.square() / (1 + signal)  # 1 − signal without its cancellation
    new_signal, new_gap = share * (signal - signal[-1]), gap[0] + share * (gap - gap[0])
    return 2 * new_signal.log() - torch.log(new_gap * (1 + new_signal))


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
    def is_variance_preserving(self) -> bool:
        """Whether signal² + sigma² = 1 at every index."""
        return bool(((self.signal.square() + self.sigma.square() - 1).abs() <= 1e-9).all())

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
        log_alpha_bar = torch.where(
            self.sigma < self.signal, torch.log1p(-self.sigma.square()), 2 * self.signal.log()
        )
        return -torch.expm1(torch.diff(log_alpha_bar, prepend=log_alpha_bar.new_zeros(1)))

    def log_snr_at(self, t: Tensor) -> Tensor:
        """log-SNR at the indices `t`, float64 [n] in 0 … T−1: linear between whole ones.

        Raises SpecError outside that range, and inside an interval that ends in infinite log-SNR: it has no inside.
        """
        if not bool(((t >= 0) & (t <= self.timesteps - 1)).all()):
            raise SpecError(
                f"every index should be in 0 … {self.timesteps - 1}, not {t.tolist()}", field="timesteps"
            )
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
        if not self.is_variance_preserving:
            raise SpecError(f"{what} is defined for variance-preserving schedules only: signal² + sigma² = 1")


class Schedule(Component):
    """Base of all schedules: override `beta` or `log_snr`, and `from_log_snr` if not variance preserving."""

    contract: ClassVar[Contract] = {
        "beta": lambda schedule, _, values: numbers(values, [schedule.timesteps]),
        "log_snr": lambda schedule, _, values: numbers(values, [schedule.timesteps]),
        "from_log_snr": lambda _, given, values: pair(values, given["log_snr"].shape, finite=False),
        "table": lambda _, given, value: instance(value, Table),
    }

    timesteps: int = Field(ge=1, le=100_000)
    """T, the number of noise levels that training draws from."""
    zero_terminal_snr: bool = False
    """Rescale √ᾱ so that the last index is pure noise and the first stays; variance preserving only (Lin et al. 2023, arXiv:2305.08891)."""
    snr_shift: float = Field(1.0, gt=0)
    """Then add 2·log(snr_shift) to log-SNR; 64/d suits images of size d if 1 suits 64 (Hoogeboom et al. 2023, arXiv:2301.11093)."""

    def beta(self) -> Tensor:
        """β_t, the variance that step t adds: float64 [T], each in (0, 1]. β = 1 destroys the signal: the last at most."""
        raise SpecError(f"the schedule '{self.component_name}' defines neither beta() nor log_snr()")

    def log_snr(self) -> Tensor:
        """log(signal²/sigma²): float64 [T], strictly decreasing. The first may be inf (clean), the last −inf (pure noise)."""
        beta = self._float64(self.beta(), "beta")
        wrong = ~((beta > 0) & (beta <= 1))
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise SpecError(
                f"the schedule '{self.component_name}' has β = {beta[index]:g} at index {index}; it should be in (0, 1]"
            )
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at any log-SNR; elementwise. Variance exploding would be 1 and exp(−log_snr/2)."""
        return variance_preserving(log_snr)

    def table(self) -> Table:
        """The checked table: this schedule's log-SNR, then `zero_terminal_snr`, then `snr_shift`.

        In that order a shift is a shift of all log-SNRs whatever else is set, and pure noise stays pure noise. Raises SpecError
        that names the schedule and the index where the noise does not grow, or the option that does not suit the schedule.
        """
        table = self._checked(self._float64(self.log_snr(), "log_snr"))
        if self.zero_terminal_snr:
            self._require_rescalable(table)
            table = self._checked(rescale_zero_terminal_snr(table.signal, table.sigma))
        if self.snr_shift != 1:
            table = self._checked(table.log_snr + 2 * math.log(self.snr_shift))
        return table

    def _checked(self, log_snr: Tensor) -> Table:
        signal, sigma = self.from_log_snr(log_snr)
        table = Table(signal, sigma, self.from_log_snr)
        log_snr = table.log_snr
        wrong = torch.cat([log_snr[:1].isnan(), ~(log_snr[1:] < log_snr[:-1])]) | ~(
            signal.isfinite() & sigma.isfinite()
        )
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise SpecError(
                f"the schedule '{self.component_name}' should lose signal at every step, but its log-SNR goes from "
                f"{log_snr[max(index - 1, 0)]:g} to {log_snr[index]:g} at index {index}"
            )
        return table

    def _require_rescalable(self, table: Table) -> None:
        if not table.is_variance_preserving:
            raise SpecError(
                f"rescales √ᾱ with signal² + sigma² = 1, which does not hold for the schedule '{self.component_name}'",
                field="zero_terminal_snr",
                hint="leave it out, or use a variance-preserving schedule",
            )
        if table.timesteps == 1:
            raise SpecError(
                "should be false with 1 timestep, whose signal cannot be both kept and removed",
                field="zero_terminal_snr",
            )

    def _require_below(self, low: str, high: str) -> None:
        """Raises SpecError at the field `low` when it is not less than the field `high`."""
        if not getattr(self, low) < getattr(self, high):
            raise SpecError(
                f"should be less than {high}, {getattr(self, high):g}, not {getattr(self, low):g}", field=low
            )

    def _float64(self, values: Tensor, method: str) -> Tensor:
        """What an overridden method returned, as it should be: float64 [T] on the CPU."""
        name = f"{method}() of the schedule '{self.component_name}'"
        if not isinstance(values, Tensor):  # a plugin's author may forget
            raise SpecError(f"{name} should return a tensor, not {type(values).__name__}")
        if values.shape != (self.timesteps,) or values.dtype != torch.float64 or values.device.type != "cpu":
            given = f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)} on {values.device}"
            raise SpecError(f"{name} should return float64 [{self.timesteps}] on cpu, not {given}")
        return values
