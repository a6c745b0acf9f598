"""A measured number with its 95 % interval, and when two of them differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from .page import number

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value and what is known of its noise."""

    value: float
    interval: Interval | None = None
    """95 %; None: nothing is known of the noise."""
    freedom: float = math.inf
    """Degrees of freedom of Student's t behind the interval; infinite where it comes from many draws, such as a score's."""

    @classmethod
    def of_score(cls, value: float, score: Mapping[str, Any]) -> Estimate:
        """A metric's value with the interval that its entry in an event's `scores` has; an empty entry has none."""
        interval = score.get("interval")
        return cls(value, None if interval is None else (interval[0], interval[1]))

    @property
    def error(self) -> float | None:
        """The standard error: half the interval's width over Student's t."""
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2 / student_t(self.freedom)

    def minus(self, other: Estimate) -> Estimate:
        """The difference, with a 95 % interval where both have one.

        ± t(ν)·√(e₁² + e₂²), with standard errors e₁ and e₂ and Welch's ν = (e₁² + e₂²)² / (e₁⁴/ν₁ + e₂⁴/ν₂). Seeds give e = s/√k and
        ν = k − 1, so two groups of seeds are Welch's t-test (Welch 1947, Biometrika 34); a score's own interval gives
        e = width/(2·1.96) and ν = ∞, so two of them are a z-test. The two are taken as independent, which is the careful side for runs
        that are measured from the same starting noise.
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
    """The mean of independent values, ± t(k − 1)·s/√k from two of them on.

    Seeds that are measured from one starting noise are independent in training only: what another noise would change in all
    of them is not in the interval.
    """
    mean = fmean(values)
    return around(mean, stdev(values) / math.sqrt(len(values)), len(values) - 1) if len(values) > 1 else Estimate(mean)


def within_noise(a: Estimate, b: Estimate) -> bool:
    """Whether the 95 % interval of a − b contains 0, or nothing is known of it: then which of the two is better can't be said.

    This is the one meaning of "within noise" in ddpmx. Each pair is judged on its own, at 95 %.
    """
    interval = a.minus(b).interval
    return interval is None or interval[0] <= 0 <= interval[1]


def amount(estimate: Estimate, seeds: int = 1, sign: bool = False) -> str:
    """`4.12 [3.90, 4.30]`, a mean over seeds `4.12 ± 0.31`; digits as the noise allows."""
    interval = estimate.interval
    if interval is None or not 0 < interval[1] - interval[0] < math.inf:
        return ("+" if sign and estimate.value > 0 else "") + number(estimate.value)
    half = (interval[1] - interval[0]) / 2
    digits = 1 - int(f"{half:.1e}".split("e")[1])

    def rounded(value: float, plus: str = "") -> str:
        return f"{round(value, digits):{plus},.{max(0, digits)}f}" if digits <= 9 else f"{value:{plus}.3g}"

    value = rounded(estimate.value, "+" if sign else "")
    return f"{value} ± {rounded(half)}" if seeds > 1 else f"{value} [{rounded(interval[0])}, {rounded(interval[1])}]"
