"""Checks of a sweep's claims against its points: that the labels, measures and fields exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import SpecError, nearest
from ..text import shortened
from .claims import Claim, Equals, Trend, claim_error
from .schema import Spec, difference
from .source import Source, value_at

VALIDATION_LOSS = "val_loss"
"""The measure that every run has."""
_POINTS = ("point", "than", "to")
"""The keys of claims that are labels of points."""


@dataclass(frozen=True)
class Known:
    """What the claims of a sweep may be about."""

    labels: tuple[str, ...]
    """Of the points."""
    measures: tuple[str, ...]
    """That all points have."""
    fields: tuple[str, ...]
    """Dotted, in which the points have different numbers."""

    @classmethod
    def of(cls, points: Mapping[str, Spec]) -> Known:
        """What claims about these points, by label, may be about."""
        return cls(
            tuple(points),
            measures_of(list(points.values())),
            numeric_fields([spec.resolved() for spec in points.values()]),
        )


def check(claims: Sequence[Claim], source: Source, known: Known) -> None:
    """Raise one SpecError with every claim about a point, measure or field that does not exist.

    `claims` are those that `claims_of` made of `source`.
    """
    findings = [finding for index, claim in enumerate(claims) for finding in _of(claim, index, source, known)]
    if findings:
        raise SpecError.of(findings)


def measures_of(specs: Sequence[Spec]) -> tuple[str, ...]:
    """The measures that all of the specs have: `val_loss`, and the scores of their metrics."""
    names = [
        dict.fromkeys(name for metric in spec.evaluate.metrics for name in metric.names_of_scores())
        for spec in specs
    ]
    shared = (name for name in (names[0] if names else ()) if all(name in others for others in names))
    return (VALIDATION_LOSS, *shared)


def numeric_fields(specs: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """The dotted fields that have at least two different numbers among resolved specs, but for the seed."""
    paths = dict.fromkeys(path for spec in specs for path in difference(dict(specs[0]), dict(spec)))
    return tuple(
        path for path in _leaves(specs, list(paths)) if path != "seed" and len(numbers(specs, path)) > 1
    )


def number_at(spec: Mapping[str, object], path: str) -> float | None:
    """The number at a dotted path of a resolved spec; None if there is none."""
    value = value_at(spec, tuple(path.split(".")))
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def numbers(specs: Sequence[Mapping[str, object]], path: str) -> set[float]:
    """The different numbers that specs have at a dotted path."""
    found = (number_at(spec, path) for spec in specs)
    return {number for number in found if number is not None}


def _leaves(specs: Sequence[Mapping[str, object]], paths: Sequence[str]) -> list[str]:
    """The paths, and those below them where one spec has a block and another has none."""
    found: dict[str, None] = {}
    for path in paths:
        for spec in specs:
            for below in _below(value_at(spec, tuple(path.split("."))), path):
                found[below] = None
    return list(found)


def _below(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(item, f"{path}.{key}")
    else:
        yield path


def _of(claim: Claim, index: int, source: Source, known: Known) -> Iterator[SpecError]:
    for key in _POINTS:
        label = getattr(claim, key, None)
        if label is not None and label not in known.labels:
            yield _unknown(source, index, key, label, known.labels)
    measure = claim.measure
    if not isinstance(claim, Equals) and measure is not None and measure not in known.measures:
        yield _unknown(source, index, "measure", measure, known.measures)
    if isinstance(claim, Trend) and claim.field not in known.fields:
        yield _unknown(source, index, "field", claim.field, known.fields)


_WANTED = {
    "measure": "not a measure of all points",
    "field": "not a field in which the points have different numbers",
}


def _unknown(source: Source, index: int, key: str, name: str, known: Sequence[str]) -> SpecError:
    message = f"'{shortened(name)}' is {_WANTED.get(key, 'not the label of a point')}"
    return claim_error(source, index, key, message, nearest(name, known) or "there are none")
