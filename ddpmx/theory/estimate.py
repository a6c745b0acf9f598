"""Measured numbers with 95 % intervals, and the test of whether two of them differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from ..text import number

Interval = tuple[float, float]
"""(low, high), with the value between them."""


@dataclass(frozen=True)
class VarianceComponent:
    """The variance that one independent source of noise adds to an estimate."""

    variance: float
    """In squared units of the estimate."""
    degrees_of_freedom: float = math.inf
    """k − 1 for a variance estimated from k seeds; infinite for one from many draws, such as a score's
    own."""


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty."""

    value: float
    """The point estimate."""
    interval: Interval | None = None
    """The 95 % interval, or the wider one of `minus`; None where the uncertainty is unknown."""
    components: tuple[VarianceComponent, ...] = ()
    """The variances behind the interval; empty where only the interval is known, as for a single score."""

    @classmethod
    def from_score(cls, value: float, score: Mapping[str, object]) -> Estimate:
        """A metric's value with the interval of its entry in an event's `scores`, if it has one."""
        interval = score.get("interval")
        return cls(value, (interval[0], interval[1]) if isinstance(interval, Sequence) else None)

    @property
    def variances(self) -> tuple[VarianceComponent, ...]:
        """The components; where only the interval is known, the variance that its longer side implies.

        The shorter side may have been cut off at 0.
        """
        if self.components or self.interval is None:
            return self.components
        side = max(self.interval[1] - self.value, self.value - self.interval[0])
        return (VarianceComponent((side / student_t(math.inf)) ** 2),)

    @property
    def is_significant(self) -> bool:
        """Whether the estimate, a difference, has a known sign: its interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def minus(self, other: Estimate, compared: int = 2) -> Estimate:
        """The difference of two estimates, with an interval if both have one.

        When G things are `compared`, the interval has the level 1 − 0.05/(G − 1) (Bonferroni), so that all
        differences to one of them hold together in 95 % of cases. The two estimates are treated as
        independent, which is conservative for runs measured from the same starting noise.
        """
        value = self.value - other.value
        if self.interval is None or other.interval is None:
            return Estimate(value)
        return with_interval(value, self.variances + other.variances, 0.05 / max(1, compared - 1))


def student_t(degrees_of_freedom: float, alpha: float = 0.05) -> float:
    """The two-sided quantile of Student's t: a share `alpha` of the distribution lies outside ± this."""
    from scipy.special import stdtrit  # imported late: slow to load, and not needed when a run starts

    return float(stdtrit(degrees_of_freedom, 1 - alpha / 2))


def half_width(components: Sequence[VarianceComponent], alpha: float = 0.05) -> float:
    """Half the width of the (1 − alpha) interval of a sum of independent noises.

    Welch's t(ν)·√(Σv), of all components or of those with finite degrees of freedom, whichever is larger.
    This is Student's interval for the seeds of one spec, Welch's test for those of two, and a z-test for two
    scores. The maximum is needed because a known variance next to one from few draws raises ν: the interval
    of the sum alone could be narrower than that of its part, and cover 88 % of cases instead of 95 %.
    """
    estimated = [part for part in components if math.isfinite(part.degrees_of_freedom)]
    return max(_welch(components, alpha), _welch(estimated, alpha))


def _welch(components: Sequence[VarianceComponent], alpha: float) -> float:
    """t(ν)·√(Σv), with ν as in Satterthwaite 1946 and Welch 1947, Biometrika 34."""
    # ν = (Σv)² / Σ(v²/νᵢ)
    total = sum(part.variance for part in components)
    weighted = sum(part.variance**2 / part.degrees_of_freedom for part in components)
    return student_t(total**2 / weighted if weighted > 0 else math.inf, alpha) * math.sqrt(total)


def with_interval(value: float, components: tuple[VarianceComponent, ...], alpha: float = 0.05) -> Estimate:
    """The value with the symmetric (1 − alpha) interval that these variances imply."""
    half = half_width(components, alpha)
    return Estimate(value, (value - half, value + half), components)


def mean_over_seeds(scores: Sequence[Estimate]) -> Estimate:
    """The mean over k training seeds measured from the same starting noise; for one seed, its own score.

    Its variance is s²/k + own²: s² is the variance between seeds, and own² the mean of the scores' own
    variances. own² does not shrink with k, since another starting noise would move all scores together. Any
    part of it that the seeds do not share is counted twice, which is conservative. Scores without intervals
    leave s²/k alone, the noise of training.
    """
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores]
    own = [sum(part.variance for part in score.variances) for score in scores if score.interval is not None]
    seeds = VarianceComponent(variance(values) / len(values), len(values) - 1)
    return with_interval(fmean(values), (seeds, VarianceComponent(fmean(own))) if own else (seeds,))


def mean_of_repeats(scores: Sequence[Estimate]) -> Estimate:
    """The mean of runs with one seed, with the interval of the first: repeats are not independent draws."""
    first, mean = scores[0], fmean(score.value for score in scores)
    if first.interval is None:
        return Estimate(mean)
    return Estimate(mean, (first.interval[0] + mean - first.value, first.interval[1] + mean - first.value))


def within_noise(a: Estimate, b: Estimate, compared: int = 2) -> bool:
    """Whether the interval of a − b contains 0 or is unknown, so that neither can be called better.

    ddpmx uses "within noise" in this sense only. When several things are `compared`, the probability that any
    of them appears better than the truly best one by more than noise is at most 5 %, however many they are.
    """
    return not a.minus(b, compared).is_significant


def amount(estimate: Estimate, seeds: int = 1, sign: bool = False) -> str:
    """`4.12 [3.90, 4.30]`, or `4.12 ± 0.31` for a mean over seeds, with digits to match the interval."""
    interval = estimate.interval
    if interval is None or not 0 < interval[1] - interval[0] < math.inf:
        return ("+" if sign and estimate.value > 0 else "") + number(estimate.value)
    half = (interval[1] - interval[0]) / 2
    digits = 1 - int(f"{half:.1e}".split("e")[1])

    def rounded(value: float, plus: str = "") -> str:
        return f"{round(value, digits):{plus},.{max(0, digits)}f}" if digits <= 9 else f"{value:{plus}.3g}"

    value = rounded(estimate.value, "+" if sign else "")
    if seeds > 1:
        return f"{value} ± {rounded(half)}"
    return f"{value} [{rounded(interval[0])}, {rounded(interval[1])}]"
