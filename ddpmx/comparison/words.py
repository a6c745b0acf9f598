"""A comparison in words: differences with their noise, and which spec is best, or that none is."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.provenance import data_changes
from ..text import listed
from ..theory.estimate import amount, within_noise
from .comparison import Comparison, Group, Standing

MOST_NAMED = 6
"""Most groups that a sentence names."""


def difference(group: Group, standing: Standing, comparison: Comparison, measure: str) -> str:
    """The difference to the baseline, such as `−0.3 ± 0.1`, with ≈ before it if it is within noise."""
    baseline = comparison.baseline
    if standing.delta is None:
        return "baseline" if group is baseline else ""
    unsure = standing.delta.interval is not None and not standing.delta.is_significant
    return ("≈ " if unsure else "") + amount(standing.delta, seeds=2, sign=True).replace("-", "−")


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
    """Sentences about each measure, runs with remarks, changed data, and how to read the intervals."""
    lines = [_sentence(measure, comparison.standings(measure)) for measure in comparison.measures]
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
    ranked = [
        standing
        for measure in comparison.measures
        for _, standing in comparison.standings(measure)
        if standing.rank
    ]
    if any(standing.seeds == 1 for standing in ranked):
        lines.append(
            "A spec with a single seed has the interval of its measurement only: "
            "it does not cover what another training seed would change."
        )
    if max(map(_ranked, map(comparison.standings, comparison.measures)), default=0) > 2:
        lines.append(
            "The more specs are ranked, the larger a difference must be to count (Bonferroni correction), "
            "so that a merely lucky spec is not called the best."
        )
    return lines


def _ranked(standings: Sequence[tuple[Group, Standing]]) -> int:
    return sum(standing.rank is not None for _, standing in standings)


def _sentence(measure: str, standings: Sequence[tuple[Group, Standing]]) -> str:
    """The result on one measure, with all groups that it concerns."""
    ranked = [(group, standing) for group, standing in standings if standing.rank]
    parts = []
    if len(ranked) > 1:
        (first, top), others = ranked[0], ranked[1:]
        near = [
            group for group, standing in others if within_noise(top.estimate, standing.estimate, len(ranked))
        ]
        far = [group for group, standing in others if group not in near]
        value, extreme = amount(top.estimate, top.seeds), "lowest" if top.better == "lower" else "highest"
        if near:
            parts.append(
                f"no winner: {first.label} is {extreme}, {value},"
                f" but {_names(near)} {_is(near)} within noise of it"
            )
        else:
            parts.append(f"{first.label} is best, {value}")
        if far:
            lead = amount(
                far[0].standings[measure].estimate.minus(top.estimate, len(ranked)), seeds=2
            ).replace("-", "")
            nearest = "" if len(far) == 1 else f"{far[0].label} "
            parts.append(f"{_names(far)} {_is(far)} worse by more than noise ({nearest}by {lead})")
    elif len(standings) == 1:
        group, standing = standings[0]
        parts.append(f"only {group.label} has it, {amount(standing.estimate, standing.seeds)}")
    else:
        parts.append("nothing can be ranked")
    marks = (
        dict.fromkeys(standing.mark for _, standing in standings if standing.mark)
        if len(standings) > 1
        else {}
    )
    for mark in marks:
        unranked = [group for group, standing in standings if standing.mark == mark]
        parts.append(f"{_names(unranked)} {_is(unranked)} not ranked ({mark})")
    return f"{measure}: {'; '.join(parts)}."


def _is(groups: Sequence[Group]) -> str:
    return "is" if len(groups) == 1 else "are"


def _names(groups: Sequence[Group]) -> str:
    return listed([group.label for group in groups], MOST_NAMED)
