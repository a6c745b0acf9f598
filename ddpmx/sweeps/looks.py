"""The looks by which a sweep's pairs of specs are settled: a seed more for those in open pairs, and again.

What a look finds depends only on the scores of the first seeds, and is kept. So it does not matter how often
the work is interrupted and repeated, and no part of alpha is spent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal, Protocol

from ..theory.scores import SpecScores
from ..theory.sequential import Pair, Settling, Verdict

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Finding:
    """What a look found about a pair."""

    verdict: Verdict
    """`open` if the pair goes on to the next look."""
    difference: float
    """The mean score of the first spec, less that of the second."""
    low: float | None
    """The interval that the verdict follows from; None where it is unknown."""
    high: float | None
    margin: float
    """The largest difference of no interest, in units of the score."""
    better: Better
    """Which score is the better one."""

    @property
    def first_is_better(self) -> bool:
        """Whether the score of the first spec is better."""
        return (self.difference < 0) == (self.better == "lower")

    def __neg__(self) -> Finding:
        """The same about the pair the other way round."""
        low, high = (None if bound is None else -bound for bound in (self.high, self.low))
        return replace(self, difference=-self.difference, low=low, high=high)


@dataclass
class Looks:
    """The findings of all looks at some specs, by the number of seeds and by pair of positions."""

    specs: int
    """The number of specs."""
    found: dict[int, dict[Pair, Finding]] = field(default_factory=dict)

    @property
    def pairs(self) -> list[Pair]:
        """All pairs (i, k), i < k."""
        return list(combinations(range(self.specs), 2))

    def latest(self, pair: Pair) -> tuple[int, Finding] | None:
        """The number of seeds of the last look at a pair, and its finding; None before the first one."""
        at = [seeds for seeds, found in self.found.items() if pair in found]
        return (max(at), self.found[max(at)][pair]) if at else None

    def still_open(self) -> list[Pair]:
        """The pairs that no look has settled."""
        latest = [(pair, self.latest(pair)) for pair in self.pairs]
        return [pair for pair, last in latest if last is None or last[1].verdict == "open"]

    def due(self, seeds: int) -> list[Pair]:
        """The open pairs that have not been looked at with so many seeds."""
        return [pair for pair in self.still_open() if pair not in self.found.get(seeds, {})]

    def seeds_of(self, spec: int, seeds: int) -> int:
        """How many seeds of a spec without due pairs count at a look with `seeds`: those of its last."""
        at = [
            count
            for count, found in self.found.items()
            if count <= seeds and any(spec in pair for pair in found)
        ]
        return max(at, default=seeds)


class Runs(Protocol):
    """The runs of some specs, each with the same seeds in the same order."""

    @property
    def better(self) -> Better:
        """Which score is the better one; known once there are any."""

    def complete(self, specs: Sequence[int], seeds: int) -> bool:
        """Run what is missing of the first `seeds` seeds; False if that ended before all had been tried."""

    def scores(self, spec: int, seeds: int) -> SpecScores | None:
        """The scores of the first `seeds` seeds; None if one of them has no score."""


def settle(
    rule: Settling, looks: Looks, runs: Runs, first: int, after: Callable[[int, Sequence[Pair]], None]
) -> frozenset[int]:
    """Look at all open pairs with the `first` seeds, at least 2, and then with one more each time.

    Ends when no pair is open, at the rule's most seeds, or when the runs end early. Calls
    `after(seeds, pairs)` after each look with the pairs that were looked at. Returns the specs that failed: a
    run of theirs has no score, so that their pairs stay open.
    """
    failed: frozenset[int] = frozenset()
    for seeds in range(first, rule.max_seeds + 1):
        wanted = _specs_in(_without(failed, looks.due(seeds)))
        if not wanted:
            continue
        if not runs.complete(wanted, seeds):
            break
        failed |= {spec for spec in wanted if runs.scores(spec, seeds) is None}
        pairs = _without(failed, looks.due(seeds))
        if pairs:
            looks.found.setdefault(seeds, {}).update(_look(rule, looks, runs, seeds, pairs))
            after(seeds, pairs)
    return failed


def family_scores(looks: Looks, runs: Runs, seeds: int, due: Sequence[Pair]) -> dict[int, SpecScores]:
    """The scores that count at the look with `seeds`, by spec; without specs that have none.

    Specs whose pairs are all settled stay in the family with the seeds that they have got.
    """
    wanted = _specs_in(due)
    counts = {spec: seeds if spec in wanted else looks.seeds_of(spec, seeds) for spec in range(looks.specs)}
    found = {spec: runs.scores(spec, count) for spec, count in counts.items()}
    return {spec: scores for spec, scores in found.items() if scores is not None}


def _look(rule: Settling, looks: Looks, runs: Runs, seeds: int, pairs: Sequence[Pair]) -> dict[Pair, Finding]:
    scores = family_scores(looks, runs, seeds, pairs)
    positions = list(scores)
    judged = rule.judge([*scores.values()])
    found = {}
    for i, k in pairs:
        verdict, difference, margin = judged[positions.index(i), positions.index(k)]
        low, high = difference.interval or (None, None)
        found[i, k] = Finding(verdict, difference.value, low, high, margin, runs.better)
    return found


def _without(specs: frozenset[int], pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if specs.isdisjoint(pair)]


def _specs_in(pairs: Sequence[Pair]) -> list[int]:
    return sorted({spec for pair in pairs for spec in pair})
