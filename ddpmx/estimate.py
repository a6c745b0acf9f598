"""A measured number with its 95 % interval, and when two of them differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value and what is known of its noise."""

    value: float
    interval: Interval | None = None
    """95 %; None: nothing is known of the noise."""
    freedom: float = math.inf
    """Degrees of freedom of Student's t behind the interval; infinite for a bootstrap's."""

    @property
    def error(self) -> float | None:
        """The standard error: half the interval's width over Student's t."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2 / student_t(self.freedom)

    def minus(self, other: Estimate) -> Estimate:
        """The difference, with a 95 % interval where both have one.

        ± t(ν)·√(e₁² + e₂²), with standard errors e₁ and e₂ and Welch's ν = (e₁² + e₂²)² / (e₁⁴/ν₁ + e₂⁴/ν₂). Seeds give e = s/√k and
        ν = k − 1, so two groups of seeds are Welch's t-test (Welch 1947, Biometrika 34); a bootstrap's interval gives
        e = width/(2·1.96) and ν = ∞, so two of them are a z-test. The two are taken as independent: runs that are measured from the
        same starting noise differ by less noise than this says, not by more.
        """
        value, e, f = self.value - other.value, self.error, other.error
        if e is None or f is None:
            return Estimate(value)
        variance = e**2 + f**2
        spread = e**4 / self.freedom + f**4 / other.freedom
        return around(value, math.sqrt(variance), variance**2 / spread if spread > 0 else math.inf)


def student_t(freedom: float) -> float:
    """Student's t at 97.5 %: 95 % of the distribution lie within ± this."""
    return float(stdtrit(freedom, 0.975))


def around(value: float, error: float, freedom: float) -> Estimate:
    """value ± t·error."""
    half = student_t(freedom) * error
    return Estimate(value, (value - half, value + half), freedom)


def of_seeds(values: Sequence[float]) -> Estimate:
    """The mean of independent values, ± t(k − 1)·s/√k from two of them on."""
    mean = fmean(values)
    return around(mean, stdev(values) / math.sqrt(len(values)), len(values) - 1) if len(values) > 1 else Estimate(mean)


def within_noise(a: Estimate, b: Estimate) -> bool:
    """Whether the 95 % interval of a − b contains 0, or nothing is known of it: then which of the two is better can't be said.

    This is the one meaning of "within noise" in ddpmx. Each pair is judged on its own, at 95 %.
    """
    interval = a.minus(b).interval
    return interval is None or interval[0] <= 0 <= interval[1]
