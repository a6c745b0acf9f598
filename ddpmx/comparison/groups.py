"""Groups of runs: the runs of one spec, which differ only in their seed, and their common results."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ..theory.differences import Difference
from ..theory.estimate import Estimate, mean_of_repeats, mean_over_seeds
from .fields import differing, labels, texts, value_at
from .results import Result, Run

IGNORED_FIELDS = ("name", "seed", "track")
"""Spec fields in which the runs of one group may differ: they compute the same, except for the seed."""


@dataclass(frozen=True)
class Standing:
    """A group's result on one measure, and how it compares with other groups."""

    estimate: Estimate
    """The run's value, or the mean over seeds, with its interval."""
    measure: str
    """The measure's name."""
    runs: tuple[Run, ...]
    """The runs whose results the estimate combines."""
    seeds: int
    """Number of different training seeds."""
    mark: str = ""
    """Why it is not ranked: unfinished, not comparable, or with one seed; empty if it may be ranked."""
    rank: int | None = None
    """1 + the number of specs that are better by more than noise.

    None if there is no other spec to rank.
    """
    won: bool = False
    """Whether it is better than every other ranked spec by more than noise."""
    delta: Difference | None = None
    """Difference to the baseline.

    None for the baseline itself and for a result that is not comparable to it.
    """

    @property
    def results(self) -> tuple[Result, ...]:
        """The runs' results that the estimate combines."""
        return tuple(run.results[self.measure] for run in self.runs)

    @property
    def condition(self) -> Mapping[str, object]:
        """How the measure was taken; see `Result.condition`."""
        return self.results[0].condition

    @property
    def better(self) -> str:
        """`lower` or `higher`."""
        return self.results[0].better

    @property
    def order(self) -> float:
        """A sort key: smaller is better."""
        return self.estimate.value if self.better == "lower" else -self.estimate.value


@dataclass(frozen=True)
class Group:
    """Runs of one spec, which differ only in IGNORED_FIELDS."""

    label: str
    """A unique name, from the runs' names or from what is special about the spec."""
    runs: tuple[Run, ...]
    """In the order given."""
    fields: dict[str, object]
    """The spec's values at `Comparison.fields`."""
    texts: dict[str, str]
    """The same values as readable text."""
    standings: dict[str, Standing]
    """By measure."""

    def name_of(self, run: Run) -> str:
        """A name for one of its runs: the label, and the seed if there are several runs."""
        return self.label if len(self.runs) == 1 else f"{self.label}, seed {run.seed}"

    @property
    def status(self) -> str:
        """The runs' common status, or how many runs have which status."""
        counts = Counter(run.status for run in self.runs)
        return (
            next(iter(counts))
            if len(counts) == 1
            else ", ".join(f"{count} {status}" for status, count in counts.items())
        )


def groups_of(runs: Sequence[Run]) -> tuple[list[Group], tuple[str, ...]]:
    """The runs grouped by spec, in order and not yet ranked, and the dotted paths of fields that differ."""
    by_spec: dict[str, list[Run]] = {}
    for run in runs:
        by_spec.setdefault(_key(run), []).append(run)
    specs = [_comparable_part(members[0]) for members in by_spec.values()]
    fields = differing(specs)
    columns = {path: texts([value_at(spec, path) for spec in specs]) for path in fields}
    names = labels(_short_names(list(by_spec.values())), columns)
    groups = [
        Group(
            name,
            tuple(members),
            {path: value_at(spec, path) for path in fields},
            {path: column[index] for path, column in columns.items()},
            standings_of(members),
        )
        for index, (name, members, spec) in enumerate(zip(names, by_spec.values(), specs, strict=True))
    ]
    return groups, fields


def _comparable_part(run: Run) -> dict[str, object]:
    return {key: value for key, value in run.resolved.items() if key not in IGNORED_FIELDS}


def _key(run: Run) -> str:
    return json.dumps(_comparable_part(run), sort_keys=True)


def _short_names(groups: Sequence[Sequence[Run]]) -> list[set[str]]:
    """Each group's run names without what a sweep added to them.

    Of `losses-l1-seed_2` that is the seed, and `losses-` if all names begin with it.
    """
    names = [{re.sub(r"-seed_\d+$", "", run.name) for run in runs} for runs in groups]
    parts = {name: name.split("-") for group in names for name in group}
    columns = zip(*(words[:-1] for words in parts.values()), strict=False)
    shared = sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, columns)) if len(parts) > 1 else 0
    return [{"-".join(parts[name][shared:]) for name in group} for group in names]


def standings_of(runs: Sequence[Run]) -> dict[str, Standing]:
    """A group's results by measure, without ranks; from its finished runs only, if it has any."""
    finished = [run for run in runs if run.is_finished]
    names = dict.fromkeys(name for run in runs for name in run.results)
    standings = {}
    for name in names:
        measured = [run for run in finished or runs if name in run.results]
        if not measured:
            continue
        conditions = [run.results[name].condition_key for run in measured]
        usual = Counter(conditions).most_common(1)[0][0]
        used = [run for run, condition in zip(measured, conditions, strict=True) if condition == usual]
        by_seed: dict[int, list[Estimate]] = {}
        for run in used:
            by_seed.setdefault(run.seed, []).append(run.results[name].estimate)
        estimate = mean_over_seeds([mean_of_repeats(same) for same in by_seed.values()])
        mark = "" if finished else measured[0].status
        standings[name] = Standing(estimate, name, tuple(used), len(by_seed), mark=mark)
    return standings
