"""The `sweep:` block of a spec: a grid of specs, each named and validated before any of them runs::

    sweep:
      loss.weighting: [constant, {name: vlb, clip: 1.0}]            # each value with each value of the others
      zip: {train.lr: [1e-3, 3e-4], train.batch_size: [64, 128]}    # these lists advance together
      points:                                                       # named points of fields or blocks
        - {name: short, schedule.timesteps: 100}

Fields, `zip` and `points` multiply in the order in which they are written; the first changes slowest.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ..errors import Findings, Mark, SpecError, nearest
from ..spec.claim_checks import Known, check
from ..spec.claims import Claim, claims_of
from ..spec.loading import OF_SWEEPS, OVERRIDE, field_of, merged, validated
from ..spec.schema import Spec
from ..spec.source import Source
from .axes import Axis, axes_of, join
from .labels import MAX_NAME, Combination, labels_of, names_of, spec_hash

MAX_POINTS = 10_000
P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Sweep:
    """The grid of a spec file."""

    name: str
    """The name of the spec; each point's name begins with it."""
    points: list[Spec]
    """The specs, in the order of the grid."""
    labels: list[str]
    """Each point's name without the sweep's name and the seed."""
    claims: tuple[Claim, ...] = ()
    """The claims about the points."""

    @cached_property
    def by_label(self) -> dict[str, tuple[Spec, ...]]:
        """The points of each spec, which differ only in their seed, by the label of the first one."""
        labels: dict[str, str] = {}
        points: dict[str, list[Spec]] = {}
        for label, spec in zip(self.labels, self.points, strict=True):
            points.setdefault(labels.setdefault(spec_hash(spec), label), []).append(spec)
        return {label: tuple(specs) for label, specs in points.items()}

    def point(self, name: str) -> Spec:
        """The point of that name. Raises SpecError with the nearest name if there is none."""
        for spec in self.points:
            if spec.name == name:
                return spec
        hint = nearest(name, [spec.name for spec in self.points])
        raise SpecError(f"the sweep has no point '{name}'", field="--point", hint=hint)


def load_sweep(path: Path | str, overrides: Iterable[str] = ()) -> Sweep:
    """All points of a spec file, validated.

    Overrides apply to the spec below the points, so they cannot change a field that the points set. Raises
    SpecError at the line of the block, or of a claim about something that the sweep does not have.
    """
    overrides = tuple(overrides)
    source = merged(path, overrides)
    if "sweep" not in source.data:
        raise SpecError(
            "there is no `sweep:` block", mark=Mark(str(path)), hint="`ddpmx run` runs a single spec"
        )
    axes = axes_of(source)
    _refuse_hidden(axes, overrides)
    count = math.prod(len(axis.choices) for axis in axes)
    if count > MAX_POINTS:
        text = f"has {count:,} points, more than the maximum of {MAX_POINTS:,}"
        raise SpecError(text, field="sweep", mark=source.mark(("sweep",)))
    names, labels, sources = _specs(source, list(itertools.product(*(axis.choices for axis in axes))))
    findings = Findings()
    with findings.collect():
        points = in_all_points(names, sources, lambda point: validated(point, path))
        _refuse_duplicates(points, source)
    with findings.collect():
        claims = claims_of(source)
    findings.report()
    sweep = Sweep(str(source.data.get("name")), points, labels, claims)
    if claims:
        check(claims, source, Known.of({label: specs[0] for label, specs in sweep.by_label.items()}))
    return sweep


def load_all(path: Path | str, overrides: Iterable[str] = ()) -> list[Spec]:
    """The points of a sweep, or the one spec of a file without a sweep."""
    overrides = tuple(overrides)
    source = merged(path, overrides)
    return load_sweep(path, overrides).points if "sweep" in source.data else [validated(source, path)]


def in_all_points(names: Sequence[str], points: Sequence[P], check: Callable[[P], R]) -> list[R]:
    """`check(point)` for each point.

    Raises SpecError with the findings of all points: each finding once, with the first point that has it.
    """
    results: list[R] = []
    points_of: dict[str, tuple[SpecError, list[str]]] = {}
    for name, point in zip(names, points, strict=True):
        try:
            results.append(check(point))
        except SpecError as error:
            for finding in error.findings:
                points_of.setdefault(str(finding), (finding, []))[1].append(name)
    if points_of:
        raise SpecError.of(_in_points(finding, names) for finding, names in points_of.values())
    return results


def _in_points(finding: SpecError, names: Sequence[str]) -> SpecError:
    """The finding, with the names of the points that have it."""
    more = f" and {len(names) - 1:,} more" if names[1:] else ""
    where = f", in the point {names[0]}{more}" if names[0] else ""
    return SpecError(
        finding.message + where,
        field=finding.field,
        mark=finding.mark,
        hint=finding.hint,
        trace=finding.trace,
    )


def _specs(source: Source, combinations: Sequence[Combination]) -> tuple[list[str], list[str], list[Source]]:
    """The name, the label and the spec of each combination of choices, not yet validated."""
    data = {key: value for key, value in source.data.items() if key not in OF_SWEEPS}
    base = Source(data, source.marks, source.owners)
    changes = [join(choice.change for choice in combination) for combination in combinations]
    name = data.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        # Spec refuses this name when it validates the points.
        return [""] * len(changes), [""] * len(changes), [base.merge(change) for change in changes]
    names = names_of(name, combinations)
    sources = [
        base.merge(_renaming(base, point_name)).merge(change)
        for point_name, change in zip(names, changes, strict=True)
    ]
    return names, labels_of(name, combinations), sources


def _renaming(base: Source, name: str) -> Source:
    """The change of the spec's name, with the mark of where the base has its own."""
    mark = base.mark(("name",))
    return Source({"name": name}, {("name",): mark} if mark else {})


def _refuse_hidden(axes: list[Axis], overrides: tuple[str, ...]) -> None:
    """Refuse an override of a field that every point sets: it would change nothing."""
    swept = {field for axis in axes for field in axis.fields}
    for text in overrides:
        field = field_of(text)
        if field in swept:
            raise SpecError(
                "the sweep sets this field in every point",
                field=field,
                mark=Mark(f"{OVERRIDE} {text}"),
                hint=f"-s sweep.{field}=[…] changes its values",
            )


def _refuse_duplicates(points: list[Spec], source: Source) -> None:
    """Refuse two points that differ only in their names."""
    names: dict[str, str] = {}
    for spec in points:
        key = json.dumps({**spec.resolved(), "name": None}, sort_keys=True)
        if key in names:
            text = f"the points {names[key]} and {spec.name} are the same experiment"
            raise SpecError(text, field="sweep", mark=source.mark(("sweep",)))
        names[key] = spec.name
