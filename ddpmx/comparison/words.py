"""What a comparison says, in words: numbers with their noise, and which spec won, or that none did."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.provenance import data_changes
from ..text import listed
from ..theory.estimate import amount, within_noise
from .comparison import Comparison, Group, Standing

NAMED = 6
"""Most groups that a sentence names."""


def difference(group: Group, standing: Standing, comparison: Comparison, measure: str) -> str:
    """The difference to the baseline: `−0.3 ± 0.1`, with a ≈ before it where it is within the noise."""
    baseline = comparison.baseline
    if standing.delta is None:
        return "baseline" if group is baseline else ""
    unsure = standing.delta.interval is not None and not standing.delta.is_significant
    return ("≈ " if unsure else "") + amount(standing.delta, seeds=2, sign=True).replace("-", "−")


def note(group: Group, standing: Standing, comparison: Comparison, measure: str) -> str:
    """What stands below a number: `rank 2 · Δ −0.3 ± 0.1`, or why there is no rank."""
    delta = difference(group, standing, comparison, measure)
    told = [
        standing.mark,
        f"rank {standing.rank}" if standing.rank else "",
        f"Δ {delta}" if standing.delta else delta,
    ]
    return " · ".join(filter(None, told))


def summary(comparison: Comparison) -> list[str]:
    """A sentence or more about each measure, and what finished runs say of their training."""
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
            "Where a spec has one seed, its interval is that of the measurement alone: what another seed would change is not in it."
        )
    if max(map(_ranked, map(comparison.standings, comparison.measures)), default=0) > 2:
        lines.append(
            "The more specs, the more a difference must be to count (Bonferroni), so that the luckiest does not pass for the best."
        )
    return lines


def _ranked(standings: Sequence[tuple[Group, Standing]]) -> int:
    return sum(standing.rank is not None for _, standing in standings)


def _sentence(measure: str, standings: Sequence[tuple[Group, Standing]]) -> str:
    ranked = [(group, standing) for group, standing in standings if standing.rank]
    told = []
    if len(ranked) > 1:
        (first, top), others = ranked[0], ranked[1:]
        near = [
            group for group, standing in others if within_noise(top.estimate, standing.estimate, len(ranked))
        ]
        far = [group for group, standing in others if group not in near]
        value, extreme = amount(top.estimate, top.seeds), "lowest" if top.better == "lower" else "highest"
        told.append(
            f"no winner: {first.label} is {extreme}, {value}, but {_names(near)} {_is(near)} within noise of it"
            if near
            else f"{first.label} is best, {value}"
        )
        if far:
            lead = amount(
                far[0].standings[measure].estimate.minus(top.estimate, len(ranked)), seeds=2
            ).replace("-", "")
            next_one = "" if len(far) == 1 else f"{far[0].label} "
            told.append(f"{_names(far)} {_is(far)} worse by more than noise ({next_one}by {lead})")
    elif len(standings) == 1:
        group, standing = standings[0]
        told.append(f"only {group.label} has it, {amount(standing.estimate, standing.seeds)}")
    else:
        told.append("nothing can be ranked")
    marks = (
        dict.fromkeys(standing.mark for _, standing in standings if standing.mark)
        if len(standings) > 1
        else {}
    )
    for mark in marks:
        unranked = [group for group, standing in standings if standing.mark == mark]
        told.append(f"{_names(unranked)} {_is(unranked)} not ranked ({mark})")
    return f"{measure}: {'; '.join(told)}."


def _is(groups: Sequence[Group]) -> str:
    return "is" if len(groups) == 1 else "are"


def _names(groups: Sequence[Group]) -> str:
    return listed([group.label for group in groups], NAMED)
