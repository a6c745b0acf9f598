"""Adding seeds until each pair of specs is known to differ or to be equivalent within a margin.

After each added seed, a look, the differences are tested again. Testing at the usual level each time would
err more and more often, so each look spends a part of it (Lan & DeMets 1983, doi:10.1093/biomet/70.3.659),
evenly over at most `max_seeds` − 1 looks. The images' part is the same at every look and needs no correction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .differences import ALPHA, Family
from .scores import SpecScores

Verdict = Literal["differs", "equivalent", "open"]
Pair = tuple[int, int]


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

    @property
    def looks(self) -> int:
        """The most looks that alpha is spent on."""
        return self.max_seeds - 1

    def look(
        self, specs: Sequence[SpecScores], look_index: int, settled: Mapping[Pair, Verdict] | None = None
    ) -> dict[Pair, Verdict]:
        """The verdict on each pair (i, k), i < k, at the look of this index from 0.

        Pairs that earlier looks `settled` keep their verdict. Pairs with a single seed on a side stay open.
        """
        if not 0 <= look_index < self.looks:
            raise ValueError(f"looks are numbered from 0 to {self.looks - 1}; got {look_index}")
        earlier = {pair: verdict for pair, verdict in (settled or {}).items() if verdict != "open"}
        share = 1 / self.looks
        differ = Family(specs, self.alpha * share, self.alpha)
        # two one-sided tests at alpha are the interval at 2·alpha (Schuirmann 1987)
        equal = Family(specs, 2 * self.alpha * share, 2 * self.alpha)
        return {
            pair: earlier[pair] if pair in earlier else self._verdict(differ, equal, pair)
            for pair in differ.pairs
        }

    def _verdict(self, differ: Family, equal: Family, pair: Pair) -> Verdict:
        if differ.differences[pair].decides_specs:
            return "differs"
        difference = equal.differences[pair]
        margin = self.margin_of(*(equal.specs[spec] for spec in pair))
        interval = difference.interval
        if difference.level == "specs" and interval is not None and max(-interval[0], interval[1]) < margin:
            return "equivalent"
        return "open"

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
