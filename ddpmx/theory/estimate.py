"""A measured number with its 95 % interval, and when two of them differ by more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy.special import stdtrit

from ..text import number

Interval = tuple[float, float]


@dataclass(frozen=True)
class Noise:
    """A variance that is in an estimate."""

    variance: float
    freedom: float = math.inf
    """Degrees of freedom behind it: k − 1 of k seeds; infinite where it comes from many draws, such as a score's."""


@dataclass(frozen=True)
class Estimate:
    """A value and what is known of its noise."""

    value: float
    interval: Interval | None = None
    """95 %, or what `minus` says; None: nothing is known of the noise."""
    parts: tuple[Noise, ...] = ()
    """What the interval is made of; none: one noise of many draws, as in a score's own interval."""

    @classmethod
    def of_score(cls, value: float, score: Mapping[str, object]) -> Estimate:
        """A metric's value with the interval that its entry in an event's `scores` has; an empty entry has none."""
        interval = score.get("interval")
        return cls(value, (interval[0], interval[1]) if isinstance(interval, Sequence) else None)

    @property
    def noise(self) -> tuple[Noise, ...]:
        """The parts; of an interval alone the variance that its longer side stands for, as the other may be cut off at 0."""
        if self.parts or self.interval is None:
            return self.parts
        side = max(self.interval[1] - self.value, self.value - self.interval[0])
        return (Noise((side / student_t(math.inf)) ** 2),)

    @property
    def is_apart(self) -> bool:
        """Of a difference: whether it is known to have its sign, 0 being outside of the interval."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def minus(self, other: Estimate, among: int = 2) -> Estimate:
        """The difference, with an interval where both have one, which `half_width` gives of the noise of both.

        With `among` G things compared, it is one of 1 − 0.05/(G − 1) (Bonferroni): all differences to one of them hold together
        in 95 % of cases. The two noises are taken as independent, which is the careful side for runs that are measured from the
        same starting noise.
        """
        value = self.value - other.value
        if self.interval is None or other.interval is None:
            return Estimate(value)
        return around(value, self.noise + other.noise, 0.05 / max(1, among - 1))


def student_t(freedom: float, outside: float = 0.05) -> float:
    """Student's t: all but the share `outside` of the distribution lies within ± this."""
    return float(stdtrit(freedom, 1 - outside / 2))


def half_width(noise: Sequence[Noise], outside: float = 0.05) -> float:
    """Half the interval of a sum of independent noises: t(ν)·√(Σv), of all of them or of those from few draws, whichever is more.

    ν = (Σv)² / Σ(v²/νᵢ) (Welch 1947, Biometrika 34; Satterthwaite 1946): Student's interval for the seeds of one spec, Welch's test
    for those of two, a z-test for two scores. A known variance beside one of few draws raises ν, so that the sum alone could come
    out narrower than its part and be right in 88 % of cases instead of 95.
    """
    few = [part for part in noise if math.isfinite(part.freedom)]
    return max(_welch(noise, outside), _welch(few, outside))


def _welch(noise: Sequence[Noise], outside: float) -> float:
    total = sum(part.variance for part in noise)
    spread = sum(part.variance**2 / part.freedom for part in noise)
    return student_t(total**2 / spread if spread > 0 else math.inf, outside) * math.sqrt(total)


def around(value: float, noise: tuple[Noise, ...], outside: float = 0.05) -> Estimate:
    """The value, in the middle of the interval that the noise gives it."""
    half = half_width(noise, outside)
    return Estimate(value, (value - half, value + half), noise)


def of_seeds(scores: Sequence[Estimate]) -> Estimate:
    """The mean over k training seeds that are measured from one starting noise; of one its own score.

    Its variance is s²/k + own²: what the seeds show by their spread, and the mean of the scores' own variances, which does not
    shrink with k, since another starting noise would move all of them together. Whatever part of the own noise is not shared is
    then counted twice: the careful side. Scores that have no interval leave it at s²/k, the noise of training alone.
    """
    if len(scores) == 1:
        return scores[0]
    values = [score.value for score in scores]
    own = [sum(part.variance for part in score.noise) for score in scores if score.interval is not None]
    seeds = Noise(variance(values) / len(values), len(values) - 1)
    return around(fmean(values), (seeds, Noise(fmean(own))) if own else (seeds,))


def of_repeats(scores: Sequence[Estimate]) -> Estimate:
    """The mean of runs of one seed, which are no independent draws: with the interval of the first."""
    first, mean = scores[0], fmean(score.value for score in scores)
    if first.interval is None:
        return Estimate(mean)
    return Estimate(mean, (first.interval[0] + mean - first.value, first.interval[1] + mean - first.value))


def within_noise(a: Estimate, b: Estimate, among: int = 2) -> bool:
    """Whether the interval of a − b contains 0, or nothing is known of it: then which of the two is better can't be said.

    This is the one meaning of "within noise" in ddpmx. Of `among` things compared, some other one seems better by more than noise
    than the truly best in 5 % of cases at most, however many they are.
    """
    return not a.minus(b, among).is_apart


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
    return (
        f"{value} ± {rounded(half)}"
        if seeds > 1
        else f"{value} [{rounded(interval[0])}, {rounded(interval[1])}]"
    )
