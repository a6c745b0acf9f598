"""Many runs side by side: how their specs differ, seeds as one group, and a ranking that stops where the noise begins."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from ..errors import SpecError, nearest
from ..files import expanded
from ..storage.newest import newest_run
from ..text import number, shortened
from ..theory.estimate import Estimate, mean_of_repeats, mean_over_seeds, within_noise
from .fields import differing, labels, texts, value_at
from .results import UNKNOWN, Result, Run, find_runs, read_runs

NO_OBJECTIVE = ("name", "seed", "track")
"""Fields in which the runs of one group may differ: what they compute is the same, but for the seed."""


ARROWS = {"lower": "↓", "higher": "↑"}


@dataclass(frozen=True)
class Standing:
    """How a group did by one measure, and beside the others."""

    estimate: Estimate
    """One run's own, or the mean over seeds."""
    results: tuple[Result, ...]
    """What it is made of."""
    seeds: int
    mark: str = ""
    """Why it may not be ranked: unfinished, not comparable with the others, or nothing known of its noise."""
    rank: int | None = None
    """1 + how many groups are better by more than noise; None where it stands beside no other."""
    won: bool = False
    """No other is within noise of it, or better."""
    delta: Estimate | None = None
    """To the baseline; None for the baseline itself and where the two are not comparable."""

    @property
    def condition(self) -> Mapping[str, object]:
        return self.results[0].condition

    @property
    def better(self) -> str:
        return self.results[0].better

    @property
    def order(self) -> float:
        """Smaller is better."""
        return self.estimate.value if self.better == "lower" else -self.estimate.value


@dataclass(frozen=True)
class Group:
    """Runs of one spec: they differ in `seed` only."""

    label: str
    runs: tuple[Run, ...]
    fields: dict[str, object]
    """The values at the paths where specs differ."""
    texts: dict[str, str]
    """The same as a person would say it."""
    standings: dict[str, Standing]

    def name_of(self, run: Run) -> str:
        """What to call one of its runs: by the seed too, where there are several."""
        return self.label if len(self.runs) == 1 else f"{self.label}, seed {run.seed}"

    @property
    def status(self) -> str:
        """`finished` where every run is, else how many of them are what."""
        counts = Counter(run.status for run in self.runs)
        return (
            next(iter(counts))
            if len(counts) == 1
            else ", ".join(f"{count} {status}" for status, count in counts.items())
        )


@dataclass(frozen=True)
class Comparison:
    groups: tuple[Group, ...]
    """In the order given; the baseline may be any of them."""
    fields: tuple[str, ...]
    """The dotted paths of the differences, in the spec's order; a component that is another one counts as one."""
    measures: tuple[str, ...]
    baseline: Group

    def standings(self, measure: str) -> list[tuple[Group, Standing]]:
        """The groups that have the measure, the best first."""
        having = [(group, group.standings[measure]) for group in self.groups if measure in group.standings]
        return sorted(having, key=lambda pair: pair[1].order)

    def arrow(self, measure: str) -> str:
        """Which direction of the measure is better."""
        return ARROWS[self.standings(measure)[0][1].better]


def compare(paths: Sequence[Path], baseline: Path | str | None = None) -> Comparison:
    """Read the runs that the paths are or hold. Raises SpecError for a path with no run in it.

    Differences are taken to the group of `baseline`: a run or a folder of some, which join the others, a group's label, a run's name
    among those compared, or the newest run of a name. By default that is the first path. Of a folder, the first finished run counts.
    """
    path = None if baseline is None else expanded(baseline)
    joins = path is not None and _exists(path)
    runs = read_runs([*paths, *([path] if path is not None and joins else [])])
    groups, fields = _groups(runs)
    if path is not None and not joins:
        group = _called(groups, str(baseline))
        if group is None:
            return compare(paths, _newest(path, groups))
    else:
        inside = {found.resolve() for found in find_runs([paths[0] if path is None else path])}
        held = [run for run in runs if run.path.resolve() in inside]
        base = next((run for run in held if run.is_finished), (held or runs)[0])
        group = next(group for group in groups if any(run is base for run in group.runs))
    names = dict.fromkeys(name for group in groups for name in group.standings)
    measures = tuple(sorted(names, key="val_loss".__eq__))  # metrics first
    for measure in measures:
        _rank(groups, measure, group)
    return Comparison(tuple(groups), fields, measures, group)


def _groups(runs: Sequence[Run]) -> tuple[list[Group], tuple[str, ...]]:
    """The runs by spec, in order and not ranked yet, and the dotted paths at which they differ."""
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
            _standings(members),
        )
        for index, (name, members, spec) in enumerate(zip(names, by_spec.values(), specs, strict=True))
    ]
    return groups, fields


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, say
        return False


def _newest(path: Path, groups: Sequence[Group]) -> Path:
    """The newest run of a name. Raises SpecError where there is none."""
    run = newest_run(path)
    if not _exists(run):
        hint = nearest(str(path), [group.label for group in groups])
        raise SpecError(
            f"'{shortened(str(path))}' is no run, nor the label of one compared",
            field="--baseline",
            hint=hint,
        )
    return run


def _called(groups: Sequence[Group], name: str) -> Group | None:
    """The group with that label, or the one that has all runs of that name."""
    having = [group for group in groups if any(run.name == name for run in group.runs)]
    labelled = [group for group in groups if group.label == name]
    return labelled[0] if labelled else having[0] if len(having) == 1 else None


def sort(comparison: Comparison, key: str | None) -> list[Group]:
    """The groups by a measure (the best first), a differing field, `name` or `status`. Raises SpecError for another key."""
    if key is None:
        return list(comparison.groups)
    if key in comparison.measures:
        return sorted(comparison.groups, key=lambda group: (key not in group.standings, _order(group, key)))
    if key in comparison.fields:
        return sorted(comparison.groups, key=lambda group: _natural(group.fields[key]))
    if key not in ("name", "status"):
        valid = [*comparison.measures, *comparison.fields, "name", "status"]
        raise SpecError(f"the comparison has no '{key}' to sort by", field="--sort", hint=nearest(key, valid))
    return sorted(comparison.groups, key=lambda group: group.label if key == "name" else group.status)


def _order(group: Group, measure: str) -> float:
    return group.standings[measure].order if measure in group.standings else 0.0


def _natural(value: object) -> tuple[bool, float, str]:
    """Numbers by size, before everything else by its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return False, float(value), str(value)
    return True, 0.0, str(value)


def _comparable_part(run: Run) -> dict[str, object]:
    return {key: value for key, value in run.resolved.items() if key not in NO_OBJECTIVE}


def _key(run: Run) -> str:
    return json.dumps(_comparable_part(run), sort_keys=True)


def _short_names(groups: Sequence[Sequence[Run]]) -> list[set[str]]:
    """The names in each group without what a sweep adds to its points': of `losses-l1-seed_2` the seed, and `losses-` if all have it."""
    names = [{re.sub(r"-seed_\d+$", "", run.name) for run in runs} for runs in groups]
    parts = {name: name.split("-") for group in names for name in group}
    columns = zip(*(words[:-1] for words in parts.values()), strict=False)
    shared = sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, columns)) if len(parts) > 1 else 0
    return [{"-".join(parts[name][shared:]) for name in group} for group in names]


def _standings(runs: Sequence[Run]) -> dict[str, Standing]:
    """A group's measures, from its finished runs where it has some."""
    finished = [run for run in runs if run.is_finished]
    names = dict.fromkeys(name for run in runs for name in run.results)
    standings = {}
    for name in names:
        having = [run for run in finished or runs if name in run.results]
        if not having:
            continue
        conditions = [_same(run.results[name].condition) for run in having]
        usual = Counter(conditions).most_common(1)[0][0]
        used = [run for run, condition in zip(having, conditions, strict=True) if condition == usual]
        results = tuple(run.results[name] for run in used)
        by_seed: dict[int, list[Estimate]] = {}
        for run in used:
            by_seed.setdefault(run.seed, []).append(run.results[name].estimate)
        estimate = mean_over_seeds([mean_of_repeats(same) for same in by_seed.values()])
        standings[name] = Standing(estimate, results, len(by_seed), mark="" if finished else having[0].status)
    return standings


def _rank(groups: Sequence[Group], measure: str, baseline: Group) -> None:
    """Mark what is not comparable, rank the rest, and take the differences to the baseline."""
    having = [group for group in groups if measure in group.standings]
    standings = [group.standings[measure] for group in having]
    home = baseline.standings.get(measure)
    conditions = [_same(standing.condition) for standing in standings]
    counts = Counter(conditions)
    usual = max(
        counts,
        key=lambda condition: (counts[condition], home is not None and condition == _same(home.condition)),
    )
    reference = standings[conditions.index(usual)].condition
    marked = []
    for standing, condition in zip(standings, conditions, strict=True):
        mark = standing.mark or ("" if condition == usual else unlike(standing.condition, reference))
        marked.append(
            replace(standing, mark=mark or ("no interval" if standing.estimate.interval is None else ""))
        )
    ranked = [standing for standing in marked if not standing.mark]
    among = len(ranked)
    for group, own in zip(having, marked, strict=True):
        apart = [other for other in ranked if not within_noise(other.estimate, own.estimate, among)]
        above = [other for other in apart if other.order < own.order]
        beside = home is not None and group is not baseline and _same(home.condition) == _same(own.condition)
        group.standings[measure] = replace(
            own,
            rank=None if own.mark or len(ranked) == 1 else 1 + len(above),
            won=not own.mark and not above and len(apart) == len(ranked) - 1 > 0,
            delta=own.estimate.minus(home.estimate, among) if beside and home is not None else None,
        )


def _same(condition: Mapping[str, object]) -> str:
    """Equal for conditions that are equal."""
    return json.dumps(condition, sort_keys=True)


def unlike(condition: Mapping[str, object], reference: Mapping[str, object]) -> str:
    """In a few words why two results are not comparable: `n 500, not 1,000`."""
    differing = [key for key in condition if condition[key] != reference.get(key)]
    return "; ".join(_unlike(key, condition[key], reference.get(key)) for key in differing)


def _unlike(key: str, value: object, other: object) -> str:
    if isinstance(value, int | float) and isinstance(other, int | float):
        return f"{key} {number(value)}, not {number(other)}"
    if UNKNOWN in (value, other):
        return f"{key} {UNKNOWN}"
    return f"{key} {value}, not {other}" if key == "split" and other is not None else f"another {key}"
