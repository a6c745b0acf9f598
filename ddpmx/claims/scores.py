"""The scores of a sweep's points on one measure, as claims are judged by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..comparison.groups import Group, standings_of
from ..comparison.ranking import ONE_SEED, comparable
from ..spec.claims import Best, Better, Claim, Equivalent, Trend
from ..text import listed
from ..theory.differences import ALPHA, Family
from .asked import Condition, asked, note
from .points import MOST_NAMES, Gap, Point, in_words


@dataclass(frozen=True)
class Levels:
    """The probabilities of an error that the claims on one measure may have."""

    pairs: float
    """Of all pairs' intervals together."""
    contrast: float
    """Of each contrast's interval."""


@dataclass(frozen=True)
class Scores:
    """The points of a sweep, and what is known of their scores on one measure."""

    specs: Mapping[str, Mapping[str, object]]
    """The resolved spec of each point, by label, in the sweep's order."""
    family: Family
    """The points that have scores that compare."""
    positions: Mapping[str, int]
    """Where they are in the family, by label."""
    alpha: float = ALPHA
    """The probability that the interval of a contrast misses it."""
    lower_is_better: bool = True
    """Whether a lower score is better."""
    gaps: Mapping[str, tuple[Gap, ...]] = field(default_factory=dict)
    """By label, for points with missing scores: which are missing, and why."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    """By label: those conditions of the points' scores that may differ, because the sweep varies them."""
    explains: bool = True
    """Whether verdicts say how many seeds or images would settle a claim, which takes most of the time."""

    def seeds(self, labels: Iterable[str]) -> int:
        """The smallest number of seeds that any of the points has scores of."""
        return min(self._count(label) for label in labels)

    def mean(self, label: str) -> float:
        """The mean score of a point that has scores."""
        return self.family.specs[self.positions[label]].mean

    def have_scores(self, labels: Iterable[str]) -> bool:
        """Whether all of the points have a score."""
        return all(label in self.positions for label in labels)

    def differing(self, labels: Iterable[str], own_field: str = "") -> str:
        """In which conditions the points' scores differ because the sweep varies them; see `asked.note`."""
        return note([self.conditions[label] for label in labels if label in self.conditions], own_field)

    def missing(self, labels: Sequence[str]) -> str:
        """What the points lack for a score of every seed of the sweep, and of two seeds at least."""
        words = in_words({label: self.gaps[label] for label in labels if label in self.gaps})
        single = [label for label in labels if self._count(label) < 2 and label not in self.gaps]
        if single:
            words.append(f"a second seed of {listed(single, MOST_NAMES)} is needed")
        return "; ".join(words)

    def _count(self, label: str) -> int:
        position = self.positions.get(label)
        return 0 if position is None else self.family.specs[position].count


def levels_of(claims: Iterable[Claim]) -> dict[str, Levels]:
    """The levels of each measure that is judged by scores.

    ALPHA is divided equally among these measures, and a measure's share among all its pairs together and
    each of its contrasts (Bonferroni), so that any of a file's verdicts is wrong with probability ALPHA at
    most.
    """
    contrasts: dict[str, int] = {}
    paired = set[str]()
    for claim in claims:
        if isinstance(claim, Better | Best | Equivalent | Trend):
            is_contrast = isinstance(claim, Trend) or (isinstance(claim, Better) and claim.by != 1)
            contrasts[claim.measure] = contrasts.get(claim.measure, 0) + is_contrast
            if isinstance(claim, Trend) or not is_contrast:
                paired.add(claim.measure)
    items = {measure: count + (measure in paired) for measure, count in contrasts.items()}
    shares = {measure: ALPHA / len(items) / count for measure, count in items.items()}
    return {measure: Levels(share, share) for measure, share in shares.items()}


def scores_on(measure: str, points: Sequence[Point], levels: Levels) -> Scores:
    """The scores of the points on a measure: of their finished runs, taken in the way that most were."""
    groups = [Group(point.label, point.own, {}, {}, standings_of(point.own)) for point in points]
    specs = {point.label: point.spec for point in points}
    measured = {group.label: group for group in groups if measure in group.standings}
    used: dict[str, set[int]] = {}
    family, positions, lower = Family((), levels.pairs), dict[str, int](), True
    varied = asked([point.spec for point in points])
    if measured:
        ranking = replace(comparable(groups, measure, asked=varied), alpha=levels.pairs)
        used = {group.label: {run.seed for run in group.standings[measure].runs} for group in ranking.groups}
        positions = {group.label: position for position, group in enumerate(ranking.groups)}
        family = ranking.family if ranking.groups else family
        lower = next(iter(measured.values())).standings[measure].better == "lower"
    gaps = {}
    for point in points:
        mark = measured[point.label].standings[measure].mark if point.label in measured else ""
        found = point.gaps(measure, used.get(point.label, ()), mark.replace(ONE_SEED, ""))
        if found:
            gaps[point.label] = found
    conditions = {
        label: {key: value for key, value in group.standings[measure].condition.items() if key in varied}
        for label, group in measured.items()
    }
    return Scores(specs, family, positions, levels.contrast, lower, gaps, conditions)
