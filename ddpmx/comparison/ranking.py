"""Ranks groups on a measure by differences whose intervals hold together.

A spec is ranked only with two seeds or more. With one seed on either side, a difference is about the two
networks that were trained. `docs/statistics.md` has the rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..text import number
from ..theory.differences import ALPHA, Difference, Family
from ..theory.power import in_words
from .groups import Group, Standing
from .results import UNKNOWN, Run
from .scores import scores_of, starting_seed

ONE_SEED = "one seed"
"""Why a spec is not ranked: another seed might change the order."""


@dataclass(frozen=True)
class Ranking:
    """The groups that are comparable on a measure, and their differences."""

    groups: tuple[Group, ...]
    """Best first; runs that are unfinished or were measured in another way are left out."""
    measure: str
    """The measure's name."""
    alpha: float = ALPHA
    """The probability that any interval misses its difference."""

    @cached_property
    def family(self) -> Family:
        """The differences of all pairs, at the positions that `groups` have."""
        seeds = Counter(
            starting_seed(run, self.measure) for group in self.groups for run in _used(group, self.measure)
        )
        usual = seeds.most_common(1)[0][0]
        specs = [scores_of(_used(group, self.measure), self.measure, usual) for group in self.groups]
        return Family(specs, self.alpha)

    def difference(self, a: Group, b: Group) -> Difference:
        """Group a less group b, two different ones."""
        return self.family.difference(self._position(a), self._position(b))

    def needed(self, a: Group, b: Group) -> str:
        """What would show the difference of two groups, which is not significant."""
        return in_words(self.family, self._position(a), self._position(b))

    @property
    def specs(self) -> list[Group]:
        """The groups with two seeds or more, best first."""
        return [group for group in self.groups if group.standings[self.measure].seeds > 1]

    def has(self, group: Group) -> bool:
        """Whether the group is comparable."""
        return any(group is other for other in self.groups)

    def _position(self, group: Group) -> int:
        return next(index for index, other in enumerate(self.groups) if other is group)


def rank(groups: Sequence[Group], measure: str, baseline: Group) -> Ranking:
    """Mark what is not comparable, rank the rest, and set the differences to the baseline."""
    ranking = comparable(groups, measure, baseline)
    measured = [group for group in groups if measure in group.standings]
    base = baseline.standings.get(measure)
    for group in measured:
        standing, delta = group.standings[measure], None
        if group is not baseline and base is not None and _condition(group, measure) == _key(base):
            together = ranking.has(group) and ranking.has(baseline)
            pair = ranking if together else Ranking((group, baseline), measure)
            delta = pair.difference(group, baseline)
        group.standings[measure] = replace(standing, delta=delta)
    _set_ranks(ranking)
    return ranking


def comparable(
    groups: Sequence[Group], measure: str, baseline: Group | None = None, asked: Collection[str] = ()
) -> Ranking:
    """The groups that are finished and measured in the way that most are, best first; the others are marked.

    Where two ways are equally usual, the baseline's counts. Groups may differ in the conditions in `asked`.
    """
    measured = [group for group in groups if measure in group.standings]
    conditions = [_condition(group, measure, asked) for group in measured]
    base = None if baseline is None else baseline.standings.get(measure)
    counts = Counter(conditions)
    usual = max(
        counts, key=lambda condition: (counts[condition], base is not None and condition == _key(base))
    )
    reference = without(measured[conditions.index(usual)].standings[measure].condition, asked)
    together = []
    for group, condition in zip(measured, conditions, strict=True):
        standing = group.standings[measure]
        mark = standing.mark or (
            "" if condition == usual else mismatch(without(standing.condition, asked), reference)
        )
        group.standings[measure] = replace(
            standing, mark=mark or (ONE_SEED if standing.seeds == 1 and len(measured) > 1 else "")
        )
        together += [] if mark else [group]
    return Ranking(tuple(sorted(together, key=lambda group: group.standings[measure].order)), measure)


def without(condition: Mapping[str, object], keys: Collection[str]) -> dict[str, object]:
    """The condition without some of its keys."""
    return {key: value for key, value in condition.items() if key not in keys}


def _condition(group: Group, measure: str, asked: Collection[str] = ()) -> str:
    return _key(group.standings[measure], asked)


def _key(standing: Standing, asked: Collection[str] = ()) -> str:
    return json.dumps(without(standing.condition, asked), sort_keys=True)


def _set_ranks(ranking: Ranking) -> None:
    """Set the rank of each spec, if there are two or more."""
    specs = ranking.specs
    for group in specs if len(specs) > 1 else []:
        others = [(other, ranking.difference(other, group)) for other in specs if other is not group]
        standing = group.standings[ranking.measure]
        sign = 1 if standing.better == "lower" else -1
        above = sum(difference.decides_specs and sign * difference.value < 0 for _, difference in others)
        apart = sum(difference.decides_specs for _, difference in others)
        group.standings[ranking.measure] = replace(
            standing, rank=1 + above, won=above == 0 and apart == len(others)
        )


def _used(group: Group, measure: str) -> list[Run]:
    """The runs behind a group's standing."""
    return list(group.standings[measure].runs)


def mismatch(condition: Mapping[str, object], reference: Mapping[str, object]) -> str:
    """Why two results are not comparable, in a few words such as `n 500, not 1,000`."""
    keys = [key for key in {**condition, **reference} if condition.get(key) != reference.get(key)]
    return "; ".join(_mismatch(key, condition.get(key), reference.get(key)) for key in keys)


def _mismatch(key: str, value: object, other: object) -> str:
    if isinstance(value, int | float) and isinstance(other, int | float):
        return f"{key} {number(value)}, not {number(other)}"
    if UNKNOWN in (value, other):
        return f"{key} {UNKNOWN}"
    return f"{key} {value}, not {other}" if key == "split" and other is not None else f"different {key}"
