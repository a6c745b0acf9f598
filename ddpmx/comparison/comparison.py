"""Compares runs: how their specs differ, and a ranking that respects noise. A spec's seeds form one group."""

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

IGNORED_FIELDS = ("name", "seed", "track")
"""Spec fields in which the runs of one group may differ: they compute the same, except for the seed."""
ARROWS = {"lower": "↓", "higher": "↑"}
"""Arrows for the better direction of a measure."""


@dataclass(frozen=True)
class Standing:
    """A group's result on one measure, and how it compares with other groups."""

    estimate: Estimate
    """The run's value, or the mean over seeds, with its interval."""
    results: tuple[Result, ...]
    """The runs' results that the estimate combines."""
    seeds: int
    """Number of different training seeds."""
    mark: str = ""
    """Why it is not ranked: unfinished, not comparable, or without an interval; empty if it may be ranked."""
    rank: int | None = None
    """1 + the number of groups that are better by more than noise.

    None if there is no other group to rank.
    """
    won: bool = False
    """Whether it is better than every other ranked group by more than noise."""
    delta: Estimate | None = None
    """Difference to the baseline.

    None for the baseline itself and for a result that is not comparable to it.
    """

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


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, ranked by every measure."""

    groups: tuple[Group, ...]
    """In the order given."""
    fields: tuple[str, ...]
    """Dotted paths of the fields that differ, in the spec's order.

    A different component counts as one field.
    """
    measures: tuple[str, ...]
    """Names of the metrics, then `val_loss`."""
    baseline: Group
    """The group that differences are taken to; one of `groups`."""

    def standings(self, measure: str) -> list[tuple[Group, Standing]]:
        """The groups that have the measure, best first."""
        having = [(group, group.standings[measure]) for group in self.groups if measure in group.standings]
        return sorted(having, key=lambda pair: pair[1].order)

    def arrow(self, measure: str) -> str:
        """An arrow in the measure's better direction."""
        return ARROWS[self.standings(measure)[0][1].better]


def compare(paths: Sequence[Path], baseline: Path | str | None = None) -> Comparison:
    """Compare the runs at or below the paths. Raises SpecError for a path without runs.

    `baseline` selects the group that differences are taken to. It is a group's label, the name of compared
    runs, the path of a run or of a folder with runs (these join the comparison), or the name of runs, of
    which the newest joins. By default it is the first path. In a folder, the first finished run decides.
    """
    path = None if baseline is None else expanded(baseline)
    is_path = path is not None and _exists(path)
    runs = read_runs([*paths, *([path] if path is not None and is_path else [])])
    groups, fields = _groups(runs)
    if path is not None and not is_path:
        group = _find_group(groups, str(baseline))
        if group is None:
            return compare(paths, _newest(path, groups))
    else:
        inside = {run.resolve() for run in find_runs([paths[0] if path is None else path])}
        candidates = [run for run in runs if run.path.resolve() in inside]
        base = next((run for run in candidates if run.is_finished), (candidates or runs)[0])
        group = next(group for group in groups if any(run is base for run in group.runs))
    names = dict.fromkeys(name for group in groups for name in group.standings)
    measures = tuple(sorted(names, key="val_loss".__eq__))  # metrics first
    for measure in measures:
        _rank(groups, measure, group)
    return Comparison(tuple(groups), fields, measures, group)


def _groups(runs: Sequence[Run]) -> tuple[list[Group], tuple[str, ...]]:
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
            _standings(members),
        )
        for index, (name, members, spec) in enumerate(zip(names, by_spec.values(), specs, strict=True))
    ]
    return groups, fields


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # for example, the name is too long
        return False


def _newest(path: Path, groups: Sequence[Group]) -> Path:
    """The newest run of a name. Raises SpecError if there is none."""
    run = newest_run(path)
    if not _exists(run):
        hint = nearest(str(path), [group.label for group in groups])
        text = f"'{shortened(str(path))}' is neither a run nor the label of a compared one"
        raise SpecError(text, field="--baseline", hint=hint)
    return run


def _find_group(groups: Sequence[Group], name: str) -> Group | None:
    """The group with this label, or the only one with a run of this name."""
    named = [group for group in groups if any(run.name == name for run in group.runs)]
    labelled = [group for group in groups if group.label == name]
    return labelled[0] if labelled else named[0] if len(named) == 1 else None


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


def _standings(runs: Sequence[Run]) -> dict[str, Standing]:
    """A group's results by measure, without ranks; from its finished runs only, if it has any."""
    finished = [run for run in runs if run.is_finished]
    names = dict.fromkeys(name for run in runs for name in run.results)
    standings = {}
    for name in names:
        measured = [run for run in finished or runs if name in run.results]
        if not measured:
            continue
        conditions = [_condition_key(run.results[name].condition) for run in measured]
        usual = Counter(conditions).most_common(1)[0][0]
        used = [run for run, condition in zip(measured, conditions, strict=True) if condition == usual]
        results = tuple(run.results[name] for run in used)
        by_seed: dict[int, list[Estimate]] = {}
        for run in used:
            by_seed.setdefault(run.seed, []).append(run.results[name].estimate)
        estimate = mean_over_seeds([mean_of_repeats(same) for same in by_seed.values()])
        mark = "" if finished else measured[0].status
        standings[name] = Standing(estimate, results, len(by_seed), mark=mark)
    return standings


def _rank(groups: Sequence[Group], measure: str, baseline: Group) -> None:
    """Mark what is not comparable, rank the rest, and compute the differences to the baseline."""
    measured = [group for group in groups if measure in group.standings]
    standings = [group.standings[measure] for group in measured]
    base = baseline.standings.get(measure)
    base_condition = None if base is None else _condition_key(base.condition)
    conditions = [_condition_key(standing.condition) for standing in standings]
    counts = Counter(conditions)
    usual = max(counts, key=lambda condition: (counts[condition], condition == base_condition))
    reference = standings[conditions.index(usual)].condition
    marked = []
    for standing, condition in zip(standings, conditions, strict=True):
        mark = standing.mark or ("" if condition == usual else mismatch(standing.condition, reference))
        mark = mark or ("no interval" if standing.estimate.interval is None else "")
        marked.append(replace(standing, mark=mark))
    ranked = [standing for standing in marked if not standing.mark]
    among = len(ranked)
    for group, standing, condition in zip(measured, marked, conditions, strict=True):
        apart = [other for other in ranked if not within_noise(other.estimate, standing.estimate, among)]
        above = [other for other in apart if other.order < standing.order]
        comparable = group is not baseline and condition == base_condition
        group.standings[measure] = replace(
            standing,
            rank=None if standing.mark or len(ranked) == 1 else 1 + len(above),
            won=not standing.mark and not above and len(apart) == len(ranked) - 1 > 0,
            delta=standing.estimate.minus(base.estimate, among) if comparable and base is not None else None,
        )


def _condition_key(condition: Mapping[str, object]) -> str:
    """A text that is equal for equal conditions."""
    return json.dumps(condition, sort_keys=True)


def mismatch(condition: Mapping[str, object], reference: Mapping[str, object]) -> str:
    """Why two results are not comparable, in a few words such as `n 500, not 1,000`."""
    keys = [key for key in condition if condition[key] != reference.get(key)]
    return "; ".join(_mismatch(key, condition[key], reference.get(key)) for key in keys)


def _mismatch(key: str, value: object, other: object) -> str:
    if isinstance(value, int | float) and isinstance(other, int | float):
        return f"{key} {number(value)}, not {number(other)}"
    if UNKNOWN in (value, other):
        return f"{key} {UNKNOWN}"
    return f"{key} {value}, not {other}" if key == "split" and other is not None else f"different {key}"
