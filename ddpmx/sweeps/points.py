"""The `sweep:` block of a spec: a grid of specs, each named and validated before any of them runs::

    sweep:
      loss.weighting: [constant, {name: vlb, clip: 1.0}]            # every value with every other
      zip: {train.lr: [1e-3, 3e-4], train.batch_size: [64, 128]}    # lists of one length, walked together
      points:                                                       # named overrides, of dotted fields or whole blocks
        - {name: short, schedule.timesteps: 100}

Fields, `zip` and `points` multiply in the order in which they are written; the first changes slowest.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..components.strict import UNSET
from ..errors import Findings, Mark, SpecError, nearest
from ..spec.loading import OVERRIDE, merged, validated
from ..spec.schema import Spec
from ..spec.source import KeyPath, Source, nested, value_at

MAX_POINTS = 10_000
MAX_NAME = 100
P = TypeVar("P")
R = TypeVar("R")
_FIXED = ("name", "plugins")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Sweep:
    """The grid of a spec file, in its order; each point's `name` begins with the sweep's."""

    name: str
    points: list[Spec]

    def point(self, name: str) -> Spec:
        """The point of that name. Raises SpecError with the nearest one."""
        for spec in self.points:
            if spec.name == name:
                return spec
        hint = nearest(name, [spec.name for spec in self.points])
        raise SpecError(f"the sweep has no point '{name}'", field="--point", hint=hint)


@dataclass(frozen=True)
class _Choice:
    """One value of an axis: how a point's name tells it, and what it changes."""

    label: str
    change: Source


def load_sweep(path: Path | str, overrides: Iterable[str] = ()) -> Sweep:
    """Every point of a spec file, validated; overrides apply below the points. Raises SpecError at the line of the block."""
    overrides = tuple(overrides)
    source = merged(path, overrides)
    if "sweep" not in source.data:
        raise SpecError(
            "there is no `sweep:` block", mark=Mark(str(path)), hint="`ddpmx run` runs a spec of one run"
        )
    axes = _axes(source)
    _refuse_hidden(axes, overrides)
    count = math.prod(len(choices) for _, choices in axes)
    if count > MAX_POINTS:
        raise SpecError(
            f"gives {count:,} points, more than {MAX_POINTS:,}", field="sweep", mark=source.mark(("sweep",))
        )
    base = Source(
        {key: value for key, value in source.data.items() if key != "sweep"}, source.marks, source.owners
    )
    combined = list(itertools.product(*(choices for _, choices in axes)))
    name = base.data.get("name")
    if isinstance(name, str) and 0 < len(name) <= MAX_NAME:
        names = _names(name, combined)
        changed = [base.merge(_renamed(base, called)) for called in names]
    else:  # which Spec refuses
        names, changed = [""] * count, [base] * count
    started = [
        start.merge(_join(choice.change for choice in choices))
        for start, choices in zip(changed, combined, strict=True)
    ]
    points = in_all_points(names, started, lambda point: validated(point, path))
    _refuse_twins(points, source)
    return Sweep(str(name), points)


def in_all_points(names: Sequence[str], points: Sequence[P], check: Callable[[P], R]) -> list[R]:
    """What `check` gives for each point. Raises SpecError with the findings of all points, each finding once, with where it is."""
    results: list[R] = []
    found: dict[str, tuple[SpecError, list[str]]] = {}
    for name, point in zip(names, points, strict=True):
        try:
            results.append(check(point))
        except SpecError as error:
            for finding in error.findings:
                found.setdefault(str(finding), (finding, []))[1].append(name)
    if found:
        raise SpecError.of(_in_points(finding, places) for finding, places in found.values())
    return results


def _in_points(finding: SpecError, places: Sequence[str]) -> SpecError:
    more = f" and {len(places) - 1:,} more" if places[1:] else ""
    where = f", in the point {places[0]}{more}" if places[0] else ""
    return SpecError(
        finding.message + where,
        field=finding.field,
        mark=finding.mark,
        hint=finding.hint,
        trace=finding.trace,
    )


def load_all(path: Path | str, overrides: Iterable[str] = ()) -> list[Spec]:
    """The points of a sweep, or the one spec of a file without."""
    overrides = tuple(overrides)
    source = merged(path, overrides)
    return load_sweep(path, overrides).points if "sweep" in source.data else [validated(source, path)]


Axis = tuple[tuple[str, ...], list[_Choice]]


def _axes(source: Source) -> list[Axis]:
    """The fields that an axis sets in every point, and its choices."""
    block = source.data["sweep"]
    if not isinstance(block, dict) or all(value is UNSET for value in block.values()):
        text = "should map fields to lists, such as `seed: [0, 1]`, or hold `zip:` or `points:`"
        raise SpecError(text, field="sweep", mark=source.mark(("sweep",)))
    lists = {key: value for key, value in block.items() if key not in ("zip", "points")}
    zipped = block.get("zip", {})
    fields = [*lists, *(zipped if isinstance(zipped, dict) else ())]
    findings, axes = Findings(), list[Axis]()
    for key, value in block.items():
        at: KeyPath = ("sweep", key)
        with findings.collect():
            if value is UNSET:
                continue
            if key == "points":
                axes.append(((), _each(range(_length(source, at)), partial(_named, source, at))))
            elif key == "zip":
                axes.append((tuple(zipped), _zip(source, at, fields)))
            else:
                axes.append(
                    ((key,), [_choice(source, at, index, fields) for index in range(_length(source, at))])
                )
    findings.report()
    return axes


def _each(indices: Iterable[int], make: Callable[[int], _Choice]) -> list[_Choice]:
    """What `make` gives for each index. Raises SpecError with the findings of all."""
    findings, made = Findings(), list[_Choice]()
    for index in indices:
        with findings.collect():
            made.append(make(index))
    findings.report()
    return made


def _length(source: Source, at: KeyPath) -> int:
    values = value_at(source.data, at)
    if not isinstance(values, list) or not values:
        raise SpecError("should be a list of values, at least one", field=_dotted(at), mark=source.mark(at))
    return len(values)


def _zip(source: Source, at: KeyPath, fields: list[str]) -> list[_Choice]:
    block = value_at(source.data, at)
    if not isinstance(block, dict) or not block:
        raise SpecError("should map fields to lists of one length", field=_dotted(at), mark=source.mark(at))
    lengths = {field: _length(source, (*at, field)) for field in block}
    first = next(iter(lengths))
    for field, length in lengths.items():
        if length != lengths[first]:
            text = f"has {length} values, but {first} has {lengths[first]}, and they are walked together"
            raise SpecError(text, field=_dotted((*at, field)), mark=source.mark((*at, field)))
    rows = [
        [_choice(source, (*at, field), index, fields) for field in block] for index in range(lengths[first])
    ]
    return [
        _Choice("-".join(choice.label for choice in row), _join(choice.change for choice in row))
        for row in rows
    ]


def _choice(source: Source, at: KeyPath, index: int, fields: list[str]) -> _Choice:
    field = str(at[-1])
    change = _moved(source, (*at, index), _keys(field, source, at))
    return _Choice(f"{_short(field, fields)}_{_told(value_at(source.data, (*at, index)))}", change)


def _named(source: Source, points: KeyPath, index: int) -> _Choice:
    """A point of `points:`."""
    at: KeyPath = (*points, index)
    block = value_at(source.data, at)
    label = block.get("name") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(label, str) or not label or _UNSAFE.search(label):
        text = "should be a block of fields with a `name:` of letters, digits, _ - ."
        raise SpecError(text, field=_dotted(at), mark=source.mark((*at, "name")))
    fields = [field for field in block if field != "name"]
    return _Choice(
        label, _join(_moved(source, (*at, field), _keys(field, source, (*at, field))) for field in fields)
    )


def _keys(field: str, source: Source, at: KeyPath) -> tuple[str, ...]:
    keys = tuple(field.split("."))
    if keys[0] not in Spec.model_fields or keys[0] in _FIXED or not all(keys):
        known = [*Spec.model_fields, *(("zip", "points") if len(at) == 2 else ())]
        hint = "all points share it" if keys[0] in _FIXED else nearest(keys[0], set(known) - set(_FIXED))
        raise SpecError(
            "not a field that a sweep can change", field=_dotted(at), mark=source.mark(at), hint=hint
        )
    return keys


def _moved(source: Source, at: KeyPath, to: tuple[str, ...]) -> Source:
    """The value at one place as an override of another, with the marks of where it was written."""
    marks: dict[KeyPath, Mark] = {
        (*to, *path[len(at) :]): mark for path, mark in source.marks.items() if path[: len(at)] == at
    }
    mark = source.mark(at)
    return Source(nested(to, value_at(source.data, at)), {to: mark, **marks} if mark else marks)


def _join(changes: Iterable[Source]) -> Source:
    joined = Source()
    for change in changes:
        joined = joined.merge(change)
    return joined


def _renamed(base: Source, name: str) -> Source:
    mark = base.mark(("name",))
    return Source({"name": name}, {("name",): mark} if mark else {})


def _names(name: str, combined: list[tuple[_Choice, ...]]) -> list[str]:
    """A folder name for each point: its labels after the sweep's name, with a hash where that is too long or not its own."""
    plain = [
        "-".join([name, *(_UNSAFE.sub("_", choice.label) for choice in combination)])
        for combination in combined
    ]
    count = Counter(plain)
    return [
        text if len(text) <= MAX_NAME and count[text] == 1 else f"{text[: MAX_NAME - 9]}-{_hash(combination)}"
        for text, combination in zip(plain, combined, strict=True)
    ]


def _hash(combination: tuple[_Choice, ...]) -> str:
    told = [[choice.label, choice.change.data] for choice in combination]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


def _short(field: str, fields: list[str]) -> str:
    """The last part of a dotted field, or all of it where another field ends alike."""
    parts = field.removesuffix(".name").split(".")
    alike = sum(other.removesuffix(".name").split(".")[-1] == parts[-1] for other in fields) > 1
    return ".".join(parts) if alike else parts[-1]


def _told(value: object) -> str:
    if isinstance(value, dict):
        rest = [f"{key}_{_told(item)}" for key, item in value.items() if key != "name"]
        return "_".join([*([_told(value["name"])] if "name" in value else []), *rest])
    if isinstance(value, list):
        return "_".join(map(_told, value))
    return value if isinstance(value, str) else json.dumps(value)


def _refuse_hidden(axes: list[tuple[tuple[str, ...], list[_Choice]]], overrides: tuple[str, ...]) -> None:
    """An override of a field that every point sets would change nothing."""
    swept = {field for fields, _ in axes for field in fields}
    for text in overrides:
        field = text.partition("=")[0].strip()
        if field in swept:
            hint = f"-s sweep.{field}=[…] changes its values"
            raise SpecError(
                "the sweep sets this field in every point",
                field=field,
                mark=Mark(f"{OVERRIDE} {text}"),
                hint=hint,
            )


def _refuse_twins(points: list[Spec], source: Source) -> None:
    seen: dict[str, str] = {}
    for spec in points:
        key = json.dumps({**spec.resolved(), "name": None}, sort_keys=True)
        if key in seen:
            text = f"the points {seen[key]} and {spec.name} are the same experiment"
            raise SpecError(text, field="sweep", mark=source.mark(("sweep",)))
        seen[key] = spec.name


def _dotted(at: KeyPath) -> str:
    return ".".join(map(str, at))
