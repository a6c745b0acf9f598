"""The axes of a `sweep:` block: the fields that each axis varies, its choices, and their labels."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ..components.strict import UNSET
from ..errors import Findings, Mark, SpecError, nearest
from ..spec.schema import Spec
from ..spec.source import KeyPath, Source, nested, value_at

UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
"""Characters that the name of a run's folder cannot have."""
SEED = "seed"
"""The field in which points of one spec differ."""
_SHARED = ("name", "plugins")
"""Fields that are the same in all points."""


@dataclass(frozen=True)
class Choice:
    """One value of an axis."""

    label: str
    """How the point's name shows the choice."""
    seedless: str
    """The label without the seed; empty if the choice sets nothing else."""
    change: Source
    """The fields that the choice sets."""


@dataclass(frozen=True)
class Axis:
    """One entry of a `sweep:` block."""

    fields: tuple[str, ...]
    """The dotted fields that every choice sets; none for `points:`, whose choices set fields of their own."""
    choices: list[Choice]


def axes_of(source: Source) -> list[Axis]:
    """The axes of a source's `sweep:` block, in the order in which they are written.

    Raises SpecError with the findings of all axes.
    """
    block = source.data["sweep"]
    if not isinstance(block, dict) or all(value is UNSET for value in block.values()):
        text = "should map fields to lists, such as `seed: [0, 1]`, or contain `zip:` or `points:`"
        raise SpecError(text, field="sweep", mark=source.mark(("sweep",)))
    lists = {key: value for key, value in block.items() if key not in ("zip", "points")}
    zipped = block.get("zip", {})
    fields = [*lists, *(zipped if isinstance(zipped, dict) else ())]
    findings, axes = Findings(), list[Axis]()
    for key, value in block.items():
        path: KeyPath = ("sweep", key)
        with findings.collect():
            if value is UNSET:
                continue
            if key == "points":
                indices = range(_length(source, path))
                axes.append(Axis((), _collect(indices, partial(_named_point, source, path))))
            elif key == "zip":
                axes.append(Axis(tuple(zipped), _zip(source, path, fields)))
            else:
                indices = range(_length(source, path))
                axes.append(Axis((key,), [_choice(source, path, index, fields) for index in indices]))
    findings.report()
    return axes


def join(changes: Iterable[Source]) -> Source:
    """All changes as one; later ones win."""
    joined = Source()
    for change in changes:
        joined = joined.merge(change)
    return joined


def _collect(indices: Iterable[int], make: Callable[[int], Choice]) -> list[Choice]:
    """`make(index)` for each index. Raises SpecError with the findings of all of them."""
    findings, choices = Findings(), list[Choice]()
    for index in indices:
        with findings.collect():
            choices.append(make(index))
    findings.report()
    return choices


def _length(source: Source, path: KeyPath) -> int:
    """The number of values in the list at a path. Raises SpecError if it is no list, or empty."""
    values = value_at(source.data, path)
    if not isinstance(values, list) or not values:
        raise SpecError("should be a list of at least one value", field=_dotted(path), mark=source.mark(path))
    return len(values)


def _zip(source: Source, path: KeyPath, fields: list[str]) -> list[Choice]:
    """The choices of `zip:`, each of which sets all its fields."""
    block = value_at(source.data, path)
    if not isinstance(block, dict) or not block:
        raise SpecError(
            "should map fields to lists of one length", field=_dotted(path), mark=source.mark(path)
        )
    lengths = {field: _length(source, (*path, field)) for field in block}
    first = next(iter(lengths))
    for field, length in lengths.items():
        if length != lengths[first]:
            text = f"has {length} values, but {first} has {lengths[first]}; lists in `zip:` advance together"
            raise SpecError(text, field=_dotted((*path, field)), mark=source.mark((*path, field)))
    rows = [
        [_choice(source, (*path, field), index, fields) for field in block] for index in range(lengths[first])
    ]
    return [
        Choice(
            "-".join(choice.label for choice in row),
            "-".join(choice.seedless for choice in row if choice.seedless),
            join(choice.change for choice in row),
        )
        for row in rows
    ]


def _choice(source: Source, path: KeyPath, index: int, fields: list[str]) -> Choice:
    """The choice that sets the field at `path` to one value of its list."""
    field = str(path[-1])
    change = _moved(source, (*path, index), _keys(field, source, path))
    label = f"{_short(field, fields)}_{_label(value_at(source.data, (*path, index)))}"
    return Choice(label, "" if field == SEED else label, change)


def _named_point(source: Source, points: KeyPath, index: int) -> Choice:
    """One entry of `points:`."""
    path: KeyPath = (*points, index)
    block = value_at(source.data, path)
    label = block.get("name") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(label, str) or not label or UNSAFE.search(label):
        text = "should be a block of fields with a `name:` of letters, digits, _ - ."
        raise SpecError(text, field=_dotted(path), mark=source.mark((*path, "name")))
    fields = [field for field in block if field != "name"]
    changes = (_moved(source, (*path, field), _keys(field, source, (*path, field))) for field in fields)
    return Choice(label, label, join(changes))


def _keys(field: str, source: Source, path: KeyPath) -> tuple[str, ...]:
    """The keys of a dotted field. Raises SpecError for a field that a sweep cannot change."""
    keys = tuple(field.split("."))
    if keys[0] not in Spec.model_fields or keys[0] in _SHARED or not all(keys):
        known = [*Spec.model_fields, *(("zip", "points") if len(path) == 2 else ())]
        hint = "all points share it" if keys[0] in _SHARED else nearest(keys[0], set(known) - set(_SHARED))
        text = "not a field that a sweep can change"
        raise SpecError(text, field=_dotted(path), mark=source.mark(path), hint=hint)
    return keys


def _moved(source: Source, path: KeyPath, to: tuple[str, ...]) -> Source:
    """The value at `path` as an override of `to`, with the marks of where it was written."""
    marks: dict[KeyPath, Mark] = {
        (*to, *below[len(path) :]): mark for below, mark in source.marks.items() if below[: len(path)] == path
    }
    mark = source.mark(path)
    return Source(nested(to, value_at(source.data, path)), {to: mark, **marks} if mark else marks)


def _short(field: str, fields: list[str]) -> str:
    """The last part of a dotted field, or the whole field if another one ends in the same part."""
    parts = field.removesuffix(".name").split(".")
    alike = sum(other.removesuffix(".name").split(".")[-1] == parts[-1] for other in fields) > 1
    return ".".join(parts) if alike else parts[-1]


def _label(value: object) -> str:
    """A value in words that a point's name can show: a component by its name, then its fields."""
    if isinstance(value, dict):
        rest = [f"{key}_{_label(item)}" for key, item in value.items() if key != "name"]
        return "_".join([*([_label(value["name"])] if "name" in value else []), *rest])
    if isinstance(value, list):
        return "_".join(map(_label, value))
    return value if isinstance(value, str) else json.dumps(value)


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
