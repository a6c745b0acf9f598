"""The base of all schedules: how much of the image and how much noise there is at each timestep.

A schedule is a rule. Its `table()` holds the numbers: x_t = signal[t]·x_0 + sigma[t]·ε. Index 0 has the least
noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..components.registry import Component
from ..errors import SpecError
from ..plugins.expected import instance, numbers, pair
from ..plugins.guard import Contract
from . import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def variance_preserving(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(signal, sigma) with signal² + sigma² = 1: signal² = sigmoid(log_snr), sigma² = sigmoid(−log_snr)."""
    return torch.exp(0.5 * F.logsigmoid(log_snr)), torch.exp(0.5 * F.logsigmoid(-log_snr))


def rescale_zero_terminal_snr(signal: Tensor, sigma: Tensor) -> Tensor:
    """The log-SNR after a variance-preserving signal is rescaled to end at 0, its first value kept.

    All are float64 [T] with T ≥ 2; the last log-SNR is −inf::

        signal'[t] = signal[0]·(signal[t] − signal[T−1])/(signal[0] − signal[T−1])

    Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    scale = signal[0] / (signal[0] - signal[-1])
    gap = sigma.square() / (1 + signal)  # 1 − signal = sigma²/(1 + signal), without cancellation
    # signal' = scale·(signal − signal[T−1]), hence 1 − signal' = gap[0] + scale·(gap − gap[0])
    new_signal, new_gap = scale * (signal - signal[-1]), gap[0] + scale * (gap - gap[0])
    # log-SNR = log(signal'²/(1 − signal'²)), with 1 − signal'² = (1 − signal')·(1 + signal')
    return 2 * new_signal.log() - torch.log(new_gap * (1 + new_signal))


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """A schedule's numbers on the CPU: x_t = signal·x_0 + sigma·ε, where index 0 has the least noise."""

    signal: Tensor
    """The factor of the clean image x_0: float64 [T]."""
    sigma: Tensor
    """The standard deviation of the noise: float64 [T]."""
    from_log_snr: Callable[[Tensor], tuple[Tensor, Tensor]] = variance_preserving
    """(signal, sigma) at a log-SNR between two indices; the default suits variance-preserving tables."""

    @property
    def timesteps(self) -> int:
        """T, the number of indices."""
        return self.signal.shape[0]

    @property
    def log_snr(self) -> Tensor:
        """log(signal²/sigma²): strictly decreasing; only the first and the last value may be infinite."""
        return 2 * (self.signal.log() - self.sigma.log())

    @property
    def sigma_ve(self) -> Tensor:
        """sigma/signal, which k-diffusion, EDM and diffusers (in `sigmas`) call sigma."""
        return self.sigma / self.signal

    @property
    def is_variance_preserving(self) -> bool:
        """Whether signal² + sigma² = 1 at every index."""
        return bool(((self.signal.square() + self.sigma.square() - 1).abs() <= 1e-9).all())

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ_t = signal². Raises SpecError if the table is not variance preserving."""
        self._require_variance_preserving("alpha_bar")
        return self.signal.square()

    @property
    def beta(self) -> Tensor:
        """β_t = 1 − ᾱ_t/ᾱ_{t−1}, with ᾱ_{−1} = 1. Raises SpecError if it is not variance preserving."""
        self._require_variance_preserving("beta")
        # log ᾱ = log(1 − sigma²) = 2·log(signal), from the smaller of the two, which avoids cancellation
        log_alpha_bar = torch.where(
            self.sigma < self.signal, torch.log1p(-self.sigma.square()), 2 * self.signal.log()
        )
        # β_t = 1 − exp(log ᾱ_t − log ᾱ_{t−1})
        return -torch.expm1(torch.diff(log_alpha_bar, prepend=log_alpha_bar.new_zeros(1)))

    def plot(self) -> Figure:
        """A matplotlib figure: signal, sigma and log-SNR over the index."""
        return figure.plot(self.signal.tolist(), self.sigma.tolist(), self.log_snr.tolist())

    def __repr__(self) -> str:
        first, last = (float(value) for value in self.log_snr[[0, -1]])
        kind = "variance preserving" if self.is_variance_preserving else "not variance preserving"
        return f"Table({self.timesteps} timesteps, log-SNR {first:.4g} … {last:.4g}, {kind})"

    def _repr_html_(self) -> str:
        """The table in a notebook: its figure below a line of text."""
        return f"<div>{self!r}</div>{figure.to_svg(self.plot())}"

    def log_snr_at(self, t: Tensor) -> Tensor:
        """log-SNR at the indices `t`, float64 [n] in 0 … T−1: linear between whole indices.

        Raises SpecError for an index out of range, and for a fractional index next to an infinite log-SNR.
        """
        if not bool(((t >= 0) & (t <= self.timesteps - 1)).all()):
            raise SpecError(
                f"every index should be in 0 … {self.timesteps - 1}, not {t.tolist()}", field="timesteps"
            )
        log_snr, below, above = self.log_snr, t.floor().long(), t.ceil().long()
        between = log_snr[below] + (t - below) * (log_snr[above] - log_snr[below])
        unbounded = (below != above) & ~between.isfinite()
        if bool(unbounded.any()):
            raise SpecError(
                f"index {t[unbounded][0]:g} is next to an index of infinite log-SNR, "
                "so its own log-SNR cannot be interpolated",
                field="timesteps",
                hint="use whole indices there",
            )
        return torch.where(below == above, log_snr[below], between)

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at the indices `t`: float64 [n].

        They are the table's own at whole indices; between those, log-SNR is linear. Raises SpecError as
        `log_snr_at` does.
        """
        signal, sigma = self.from_log_snr(self.log_snr_at(t))
        index = t.floor().long()
        whole = index == t
        return torch.where(whole, self.signal[index], signal), torch.where(whole, self.sigma[index], sigma)

    def _require_variance_preserving(self, what: str) -> None:
        if not self.is_variance_preserving:
            raise SpecError(
                f"{what} is defined for variance-preserving schedules only (signal² + sigma² = 1)"
            )


class Schedule(Component):
    """Base of all schedules: override `beta` or `log_snr`; also `from_log_snr` if not variance preserving."""

    contract: ClassVar[Contract] = {
        "beta": lambda schedule, _, values: numbers(values, [schedule.timesteps]),
        "log_snr": lambda schedule, _, values: numbers(values, [schedule.timesteps]),
        "from_log_snr": lambda _, arguments, values: pair(values, arguments["log_snr"].shape, finite=False),
        "table": lambda schedule, _, value: instance(value, Table),
    }

    timesteps: int = Field(ge=1, le=100_000)
    """T, the number of noise levels; index 0 has the least noise and index T − 1 the most."""
    zero_terminal_snr: bool = False
    """Rescale √ᾱ so that the last index is pure noise and the first is unchanged (Lin et al. 2023,
    arXiv:2305.08891). Variance-preserving schedules only."""
    snr_shift: float = Field(1.0, gt=0)
    """Multiply √SNR by this, that is, add 2·log(snr_shift) to log-SNR, after `zero_terminal_snr`. For images
    of size d use 64/d with a schedule that suits size 64 (Hoogeboom et al. 2023, arXiv:2301.11093)."""

    def beta(self) -> Tensor:
        """β_t, the variance that step t adds: float64 [T], each in (0, 1].

        β_t = 1 removes the signal, so only the last may be 1.
        """
        raise SpecError(f"the schedule '{self.component_name}' defines neither beta() nor log_snr()")

    def log_snr(self) -> Tensor:
        """log(signal²/sigma²): float64 [T], strictly decreasing.

        The first may be inf (a clean image) and the last −inf (pure noise).
        """
        beta = self._float64(self.beta(), "beta")
        wrong = ~((beta > 0) & (beta <= 1))
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise SpecError(
                f"the schedule '{self.component_name}' has β = {beta[index]:g} at index {index}; "
                "it should be in (0, 1]"
            )
        # log ᾱ_t = Σ_{i ≤ t} log(1 − β_i), and log-SNR = log(ᾱ/(1 − ᾱ))
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))

    def from_log_snr(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, sigma) at any log-SNR, elementwise; 1 and exp(−log_snr/2) if variance exploding."""
        return variance_preserving(log_snr)

    def table(self) -> Table:
        """The checked table: this schedule's log-SNR, then `zero_terminal_snr`, then `snr_shift`.

        In this order the shift applies equally to all log-SNRs, and pure noise stays pure noise. Raises
        SpecError with the index where the noise does not grow, or with the option that does not suit the
        schedule.
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
                f"the schedule '{self.component_name}' should lose signal at every step, but its log-SNR "
                f"goes from {log_snr[max(index - 1, 0)]:g} to {log_snr[index]:g} at index {index}"
            )
        return table

    def _require_rescalable(self, table: Table) -> None:
        if not table.is_variance_preserving:
            raise SpecError(
                "needs a variance-preserving schedule (signal² + sigma² = 1), "
                f"which '{self.component_name}' is not",
                field="zero_terminal_snr",
                hint="remove it, or use a variance-preserving schedule",
            )
        if table.timesteps == 1:
            raise SpecError(
                "should be false with 1 timestep, whose signal cannot be both kept and set to 0",
                field="zero_terminal_snr",
            )

    def _require_below(self, low: str, high: str) -> None:
        """Raise SpecError for the field `low` unless its value is less than that of the field `high`."""
        if not getattr(self, low) < getattr(self, high):
            raise SpecError(
                f"should be less than {high}, {getattr(self, high):g}, not {getattr(self, low):g}", field=low
            )

    def _float64(self, values: Tensor, method: str) -> Tensor:
        """The result of an overridden method, checked to be float64 [T] on the CPU."""
        name = f"{method}() of the schedule '{self.component_name}'"
        if not isinstance(values, Tensor):  # a plugin's method may lack its return statement
            raise SpecError(f"{name} should return a tensor, not {type(values).__name__}")
        if values.shape != (self.timesteps,) or values.dtype != torch.float64 or values.device.type != "cpu":
            actual = f"{str(values.dtype).removeprefix('torch.')} {list(values.shape)} on {values.device}"
            raise SpecError(f"{name} should return float64 [{self.timesteps}] on cpu, not {actual}")
        return values
