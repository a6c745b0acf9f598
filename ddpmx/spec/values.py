"""Specs and overrides that are given as Python values instead of YAML.

They become the same plain data as YAML does, with a mark for each value, so that merging, `extends`, plugins
and messages work alike.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..components.registry import Component
from ..errors import Findings, Mark, SpecError
from ..text import shortened
from .loading import Override, load_data, override_keys, valid, validated
from .schema import Spec
from .source import KeyPath, Source, nested
from .yaml_source import MAX_DEPTH, refuse_unprintable

SPEC = "spec"
"""The mark of the values of a mapping."""
OVERRIDES = "overrides"
"""The mark of overrides."""


def load_values(data: Mapping[str, object], overrides: Sequence[Override] = ()) -> Spec:
    """Merge and validate a spec of one run, given as a mapping. Raises SpecError with every finding."""
    return load_data(_source(data), SPEC, overrides)


def with_changes(spec: Spec, overrides: Sequence[Source]) -> Spec:
    """The spec with overrides on top, validated. Raises SpecError with every finding."""
    source = spec._source
    # a Spec that was made, or changed by model_copy, has no merged data, or other
    if not source.data or valid(source, SPEC).resolved() != spec.resolved():
        source = _source(spec.resolved()).layer()
    for change in overrides:
        source = source.merge(change)
    return validated(source, SPEC)


def changes(overrides: Mapping[str, object]) -> list[Source]:
    """The change of a spec that each override makes: a dotted field with its value, or a block with its own.

    Raises SpecError for a key that is no field's name, and for values that YAML does not have.
    """
    changed, findings = list[Source](), Findings()
    for key, value in overrides.items():
        with findings.collect():
            if not isinstance(key, str) or not all(key.split(".")) or key.count(".") >= MAX_DEPTH:
                message = f"{shortened(repr(key))} should be a field, such as 'train.lr'"
                raise SpecError(message, field=OVERRIDES)
            refuse_unprintable(key, Mark(OVERRIDES))
            keys = override_keys(key)
            data = nested(keys, _plain(value, keys, OVERRIDES))
            written = {path for path in _paths(data) if len(path) >= len(keys)}
            changed.append(Source(data, {path: Mark(OVERRIDES) for path in written}))
    findings.report()
    return changed


def over_changes(over: Mapping[str, Sequence[object]]) -> list[Source]:
    """The changes of `evaluate.over` to these fields, with the values of each, instead of the spec's."""
    if not over:
        return []
    return [*changes({"evaluate.over": None}), *changes({"evaluate.over": over})]


def replacing(field: str, block: object) -> list[Source]:
    """The changes of a component, of whose parameters none is kept."""
    return [*changes({field: None}), *changes({field: block})]


def texts(overrides: Mapping[str, object]) -> tuple[str, ...]:
    """The overrides as KEY=VALUE, for `-s`. Raises SpecError as `changes` does."""
    changes(overrides)
    return tuple(
        f"{key}={json.dumps(_plain(value, tuple(key.split('.')), OVERRIDES), ensure_ascii=False)}"
        for key, value in overrides.items()
    )


def _source(data: Mapping[str, object]) -> Source:
    """A mapping as merged data."""
    values = _plain(data, (), SPEC)
    assert isinstance(values, dict)
    return Source(values, {path: Mark(SPEC) for path in _paths(values)})


def _plain(value: object, path: KeyPath, where: str) -> object:
    """The value as plain data: dicts, lists, text, numbers and None. Raises SpecError for anything else."""
    if isinstance(value, Component):
        value = value.spec()
    if isinstance(value, os.PathLike):
        value = str(Path(value))
    field, mark = ".".join(map(str, path)), Mark(where)
    if len(path) > MAX_DEPTH:
        raise SpecError(f"should have at most {MAX_DEPTH} levels", field=field[:100], mark=mark)
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str) or not key]
        if wrong:
            message = f"a key should be text, not {shortened(repr(wrong[0]))}"
            raise SpecError(message, field=field, mark=mark)
        return {key: _plain(item, (*path, key), where) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, index), where) for index, item in enumerate(value)]
    if isinstance(value, str):
        refuse_unprintable(value, mark, field)
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SpecError(f"{value} is not a finite number", field=field, mark=mark)
        return float(value)
    message = f"should be text, a number, a list or a mapping, not {type(value).__name__}"
    raise SpecError(message, field=field, mark=mark)


def _paths(data: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of each value in plain data."""
    yield path
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _paths(value, (*path, key))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _paths(item, (*path, index))
