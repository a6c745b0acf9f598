"""Compares runs: how their specs differ, and a ranking that respects noise. A spec's seeds form one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import SpecError, nearest
from ..files import expanded
from ..storage.newest import newest_run
from ..text import shortened
from .groups import Group, Standing, groups_of
from .qualities import TrainingQuality, training_qualities
from .ranking import Ranking, rank
from .results import find_runs, read_runs

ARROWS = {"lower": "↓", "higher": "↑"}
"""Arrows for the better direction of a measure."""


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
    rankings: Mapping[str, Ranking]
    """By measure: the comparable groups with their differences."""

    def standings(self, measure: str) -> list[tuple[Group, Standing]]:
        """The groups that have the measure, best first."""
        having = [(group, group.standings[measure]) for group in self.groups if measure in group.standings]
        return sorted(having, key=lambda pair: pair[1].order)

    @cached_property
    def qualities(self) -> tuple[TrainingQuality, ...]:
        """Quality against network evaluations and along the EMA length, where runs were measured so."""
        return training_qualities([(group.label, run) for group in self.groups for run in group.runs])

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
    groups, fields = groups_of(runs)
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
    rankings = {measure: rank(groups, measure, group) for measure in measures}
    return Comparison(tuple(groups), fields, measures, group, rankings)


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
