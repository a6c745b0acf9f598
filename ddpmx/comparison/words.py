"""A comparison in words: differences with their noise, and which spec is best, or that none is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..storage.provenance import data_changes
from ..text import listed, number
from ..theory.estimate import amount
from .comparison import Comparison
from .groups import Group, Standing
from .others import others_of
from .ranking import ONE_SEED, Ranking

MOST_NAMED = 6
"""Most groups that a sentence names."""
MOST_QUALITIES = 6
"""Most sentences about settings of the same networks."""


def difference(group: Group, standing: Standing, comparison: Comparison, measure: str) -> str:
    """The difference to the baseline, such as `−0.3 ± 0.1`, with ≈ before it if it is within noise."""
    baseline = comparison.baseline
    if standing.delta is None:
        return "baseline" if group is baseline else ""
    unsure = standing.delta.interval is not None and not standing.delta.is_significant
    return ("≈ " if unsure else "") + amount(standing.delta.estimate, seeds=2, sign=True).replace("-", "−")


def note(group: Group, standing: Standing, comparison: Comparison, measure: str) -> str:
    """The line below a value, such as `rank 2 · Δ −0.3 ± 0.1`, or why there is no rank."""
    delta = difference(group, standing, comparison, measure)
    parts = [
        standing.mark,
        f"rank {standing.rank}" if standing.rank else "",
        f"Δ {delta}" if standing.delta else delta,
    ]
    return " · ".join(filter(None, parts))


def summary(comparison: Comparison) -> list[str]:
    """Sentences about each measure, samplers and EMA lengths, runs with remarks, and changed data.

    The last ones say how to read the intervals.
    """
    lines = [_sentence(comparison, measure) for measure in comparison.measures]
    lines += [text for measure in comparison.measures for text in _other_facts(comparison, measure)]
    lines += _of_qualities(comparison)
    if others := [one.changes for group in comparison.groups for one in others_of(group)]:
        fields = dict.fromkeys(field for changes in others for field in changes)
        count = len({json.dumps(sorted(changes.items())) for changes in others})
        lines.append(
            f"Measured with other settings too, which changes no rank: {listed([*fields], MOST_NAMED)} "
            f"({count} {'setting' if count == 1 else 'settings'}; see --json or --html)."
        )
    lines += [
        f"{group.name_of(run)}: {run.why}."
        for group in comparison.groups
        for run in group.runs
        if run.is_finished and run.why
    ]
    runs = [(group, run) for group in comparison.groups for run in group.runs]
    lines += [
        f"{group.name_of(run)}: {change}." for group, run in runs for change in data_changes(run.environment)
    ]
    lines += _shared_trainings(comparison)
    rankings = comparison.rankings.values()
    if any(len(ranking.groups) > 1 and len(ranking.specs) < len(ranking.groups) for ranking in rankings):
        lines.append(
            "With one seed on either side, a difference is about these two trained networks: another "
            "training seed might reverse it. Specs are ranked from two seeds a side on."
        )
    if max((len(ranking.groups) for ranking in rankings), default=0) > 2:
        lines.append(
            "The intervals of all differences on a measure hold together (largest |t|), so that a merely "
            "lucky spec is not called the best."
        )
    return lines


def _other_facts(comparison: Comparison, measure: str) -> list[str]:
    """A sentence for each fact in which ranked scores of a measure differ."""
    values: dict[str, dict[str, list[Group]]] = {}
    for group in comparison.rankings[measure].groups:
        score = group.standings[measure].results[0].score
        for name, value in ({} if score is None else score.get("facts", {})).items():
            values.setdefault(name, {}).setdefault(number(value), []).append(group)
    lines = []
    for name, groups in values.items():
        if len(groups) > 1:
            differing = "; ".join(f"{value} for {_names(having)}" for value, having in groups.items())
            lines.append(f"{measure} was measured with different {name}: {differing}.")
    return lines


def _shared_trainings(comparison: Comparison) -> list[str]:
    """A sentence for each set of groups whose runs share their trainings."""
    sharing: dict[frozenset[Path], list[Group]] = {}
    for group in comparison.groups:
        sharing.setdefault(frozenset(run.training for run in group.runs), []).append(group)
    return [
        f"{_names(groups)} measure the same trained networks: the training time of each was spent once."
        for groups in sharing.values()
        if len(groups) > 1
    ]


def _of_qualities(comparison: Comparison) -> list[str]:
    """Sentences about samplers and EMA lengths of the same networks; after a few, only how many more."""
    lines = [text for training in comparison.qualities for text in training.sentences]
    more = len(lines) - MOST_QUALITIES
    return [
        *lines[:MOST_QUALITIES],
        *([f"Quality by sampler or EMA length: {more} more in --json and --html."] if more > 0 else []),
    ]


def _sentence(comparison: Comparison, measure: str) -> str:
    """The result on one measure, with all groups that it concerns."""
    ranking, standings = comparison.rankings[measure], comparison.standings(measure)
    if len(standings) == 1:
        group, standing = standings[0]
        return f"{measure}: only {group.label} has it, {amount(standing.estimate, standing.seeds)}."
    parts = _result(ranking, ranking.specs, "spec") if len(ranking.specs) > 1 else []
    if not parts and len(ranking.groups) > 1:
        parts = _result(ranking, ranking.groups, "network")
    if not parts:
        parts = ["nothing can be ranked"]
    for mark in dict.fromkeys(standing.mark for _, standing in standings if standing.mark):
        unranked = [group for group, standing in standings if standing.mark == mark]
        noun = "as specs " if mark == ONE_SEED else ""
        parts.append(f"{_names(unranked)} {_is(unranked)} not ranked {noun}({mark})")
    return f"{measure}: {'; '.join(parts)}."


def _result(ranking: Ranking, groups: Sequence[Group], kind: str) -> list[str]:
    """Which of these groups, best first, is the best, or that none is, and what would tell."""
    first, *others = groups
    top = first.standings[ranking.measure]
    near = [group for group in others if not ranking.difference(group, first).is_significant]
    far = [group for group in others if group not in near]
    value = amount(top.estimate, top.seeds)
    extreme = "lowest" if top.better == "lower" else "highest"
    of = "of these trained networks, " if kind == "network" else ""
    if near:
        parts = [
            f"{of}no winner: {first.label} is {extreme}, {value},"
            f" but {_names(near)} {_is(near)} within noise of it",
            f"{first.label} and {near[0].label}: {ranking.needed(first, near[0])}",
        ]
    else:
        parts = [f"{of}{first.label} is best, {value}"]
    if far:
        lead = amount(ranking.difference(far[0], first).estimate, seeds=2).replace("-", "")
        nearest = "" if len(far) == 1 else f"{far[0].label} "
        parts.append(f"{_names(far)} {_is(far)} worse by more than noise ({nearest}by {lead})")
    return parts


def _is(groups: Sequence[Group]) -> str:
    return "is" if len(groups) == 1 else "are"


def _names(groups: Sequence[Group]) -> str:
    return listed([group.label for group in groups], MOST_NAMED)
