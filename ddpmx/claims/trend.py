"""Claims that a score falls, or rises, with a field: a contrast of the scores over the field's ranks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from ..spec.claim_checks import number_at
from ..spec.claims import Trend
from ..spec.schema import difference
from ..spec.source import value_at
from ..text import number
from ..theory.contrasts import contrast
from ..theory.power import needs_of, sentence
from .scores import Scores
from .verdict import Verdict, above, sentences

IGNORED = ("name", "seed", "track")
"""Fields that decide no result but through the seed."""


def judge_trend(claim: Trend, scores: Scores) -> Verdict:
    """The verdict on a claim that a score falls, or rises, with a field.

    Its value is the slope of the mean scores over the ranks of the field's values. A neighbouring pair that
    significantly goes the other way refutes the claim, whatever the slope is.
    """
    values = {
        label: value
        for label, spec in scores.specs.items()
        if (value := number_at(spec, claim.field)) is not None
    }
    sign = 1 if claim.direction == "rises" else -1
    missing, seeds = scores.missing(list(values)), scores.seeds(values)
    against = _against(neighbours(scores.specs, values, claim.field), scores, sign)
    weights = _slope({label: value for label, value in values.items() if label in scores.positions})
    if not weights:
        needs = sentences(missing, f"scores at two values of {claim.field} are needed")
        return Verdict(claim, "undecided", seeds=seeds, needs=needs)
    found = contrast(
        scores.family,
        {scores.positions[label]: weight for label, weight in weights.items()},
        scores.alpha,
    )
    slope = found.difference
    interval = slope.interval if slope.level == "specs" else None
    verdict = above(0.0, interval if interval is None or sign > 0 else (-interval[1], -interval[0]))
    needs = ""
    if verdict == "undecided" and interval is not None and scores.explains:
        needed = needs_of(slope, found.future, None, present=seeds)
        needs = sentence(slope, needed, "the {} seen", "slope")
    if verdict == "holds" and not scores.have_scores(values):
        verdict = "undecided"
    if against:
        verdict, needs = "fails", ""
    low, high = interval or (None, None)
    figures = (slope.value, low, high, seeds)
    return Verdict(claim, verdict, *figures, sentences(missing, needs), "slope per rank", against)


def neighbours(
    specs: Mapping[str, Mapping[str, object]], values: Mapping[str, float], field: str
) -> Iterator[tuple[str, str]]:
    """The pairs of labels with adjacent values of a field, the lower one first, that are alike otherwise.

    Fields that have one value for each value of this one, such as one that is zipped with it, may differ.
    """
    others = _others(specs, values, field)
    alike: dict[str, list[str]] = {}
    for label in values:
        key = json.dumps([value_at(specs[label], tuple(path.split("."))) for path in others])
        alike.setdefault(key, []).append(label)
    for labels in alike.values():
        present = sorted({values[label] for label in labels})
        for a, b in combinations(sorted(labels, key=lambda label: values[label]), 2):
            if present.index(values[b]) == present.index(values[a]) + 1:
                yield a, b


def _others(
    specs: Mapping[str, Mapping[str, object]], values: Mapping[str, float], field: str
) -> tuple[str, ...]:
    """The dotted fields that differ between points with one value of this field."""
    groups: dict[float, list[dict[str, object]]] = {}
    for label, value in values.items():
        plain = {key: part for key, part in specs[label].items() if key not in IGNORED}
        groups.setdefault(value, []).append(plain)
    return tuple(
        dict.fromkeys(
            path
            for group in groups.values()
            for spec in group
            for path in difference(group[0], spec)
            if path != field
        )
    )


def _against(pairs: Iterator[tuple[str, str]], scores: Scores, sign: int) -> str:
    """The neighbours whose difference is significantly the other way, in words; empty if there are none."""
    found = list[str]()
    for a, b in pairs:
        if not scores.have_scores((a, b)):
            continue
        step = scores.family.difference(scores.positions[b], scores.positions[a])
        if step.decides_specs and sign * step.value < 0:
            found.append(
                f"it {'falls' if sign > 0 else 'rises'} by {number(abs(step.value))} from {a} to {b}"
            )
    return "; ".join(found)


def _slope(values: Mapping[str, float]) -> dict[str, float]:
    """The weight of each point's score in the slope over the ranks of its value; empty without two values.

    Equal values share the mean of their ranks.
    """
    centred = _centred_ranks(list(values.values()))
    total = sum(rank**2 for rank in centred)
    return {label: rank / total for label, rank in zip(values, centred, strict=True)} if total else {}


def _centred_ranks(values: Sequence[float]) -> list[float]:
    """The ranks less their mean: half the number of smaller values less half that of larger ones."""
    counts = Counter(values)
    below = {value: sum(count for other, count in counts.items() if other < value) for value in counts}
    return [below[value] + (counts[value] + 1) / 2 - (len(values) + 1) / 2 for value in values]
