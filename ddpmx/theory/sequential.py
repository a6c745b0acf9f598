"""Adding seeds until each pair of specs is known to differ or to be equivalent within a margin.

After each added seed, a look, the differences are tested again. Testing at the usual level each time would
err more and more often, so the seeds' critical values are larger by the `look_factors`. The images' part is
the same at every look and needs no correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from .boundaries import look_factors, spent
from .differences import ALPHA, Difference, Family
from .estimate import student_t
from .scores import SpecScores

Verdict = Literal["differs", "equivalent", "open"]
Pair = tuple[int, int]


class Judgement(NamedTuple):
    """What a look finds about a pair (i, k)."""

    verdict: Verdict
    """`open` if neither is shown."""
    difference: Difference
    """Spec i less spec k. Its interval is the one that an equivalence follows from, or else a difference."""
    margin: float
    """In units of the score."""


@dataclass(frozen=True)
class Settling:
    """The rule by which pairs of specs are settled, fixed before the first look."""

    margin: float
    """Differences within ± this are of no interest. In units of the score, or `relative`."""
    max_seeds: int = 16
    """The most seeds of a spec, at least 2."""
    relative: bool = True
    """Whether the margin is a share of the mean of a pair's scores, such as 0.1."""
    alpha: float = ALPHA
    """The probability of any wrong `differs` over all looks and pairs, and of any wrong `equivalent`."""

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise ValueError(f"a margin is at least 0, not {self.margin}")
        if self.max_seeds < 2:
            raise ValueError(f"a spread needs 2 seeds; max_seeds is {self.max_seeds}")

    def look(
        self, specs: Sequence[SpecScores], settled: Mapping[Pair, Verdict] | None = None
    ) -> dict[Pair, Verdict]:
        """The verdict on each pair (i, k), i < k, as the data are now.

        Pairs that earlier looks `settled` keep their verdict. Pairs with a single seed on a side stay open.
        """
        earlier = {pair: verdict for pair, verdict in (settled or {}).items() if verdict != "open"}
        return {pair: earlier.get(pair, found.verdict) for pair, found in self.judge(specs).items()}

    def judge(self, specs: Sequence[SpecScores]) -> dict[Pair, Judgement]:
        """What the data show about each pair, whatever earlier looks found."""
        differ = Family(specs, self.alpha)
        # two one-sided tests at alpha are the interval at 2·alpha (Schuirmann 1987)
        equal = Family(specs, 2 * self.alpha)
        return {pair: self._judgement(differ, equal, pair) for pair in differ.pairs}

    def one_look(self, specs: Sequence[SpecScores]) -> Family:
        """The differences at a level that all looks can have: for what power says about open pairs."""
        return Family(specs, self.alpha / (self.max_seeds - 1))

    def _judgement(self, differ: Family, equal: Family, pair: Pair) -> Judgement:
        margin = self.margin_of(*(equal.specs[spec] for spec in pair))
        if differ.differences[pair].level == "networks":
            return Judgement("open", differ.differences[pair], margin)
        difference = self._at_a_look(differ, pair)
        if difference.decides_specs:
            return Judgement("differs", difference, margin)
        equivalence = self._at_a_look(equal, pair)
        interval = equivalence.interval
        if interval and max(-interval[0], interval[1]) < margin:
            return Judgement("equivalent", equivalence, margin)
        return Judgement("open", difference, margin)

    def _at_a_look(self, family: Family, pair: Pair) -> Difference:
        """The difference of a pair of specs with the critical value of the seeds' part for many looks."""
        difference = family.differences[pair]
        assert difference.seeds is not None
        seeds = min(self.max_seeds, *(family.specs[spec].count for spec in pair))
        if difference.welch:
            share = spent(seeds, self.max_seeds) - spent(seeds - 1, self.max_seeds)
            level = family.alpha * share / len(family.pairs)
            critical = student_t(difference.seeds.degrees_of_freedom, level)
        else:
            factors = look_factors(len(family), self.max_seeds, family.alpha)
            critical = difference.seeds.critical * factors[seeds]
        return replace(difference, seeds=replace(difference.seeds, critical=critical))

    def margin_of(self, a: SpecScores, b: SpecScores) -> float:
        """The margin in units of the score."""
        return self.margin * (abs(a.mean) + abs(b.mean)) / 2 if self.relative else self.margin

    def next(self, specs: Sequence[SpecScores], verdicts: Mapping[Pair, Verdict]) -> tuple[int, ...]:
        """The positions of the specs that need one more seed before the next look; empty at the end.

        They are those in an open pair, and of these the ones with the fewest seeds, below `max_seeds`.
        """
        wanted = sorted({spec for pair, verdict in verdicts.items() if verdict == "open" for spec in pair})
        fewest = min((specs[spec].count for spec in wanted), default=self.max_seeds)
        return tuple(spec for spec in wanted if specs[spec].count == fewest and fewest < self.max_seeds)
