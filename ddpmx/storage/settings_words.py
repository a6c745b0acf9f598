"""Settings that deviate from a run's spec, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..text import setting


def settings_in_words(changes: Sequence[Mapping[str, object]]) -> list[str]:
    """A text for the settings of each measurement, in enough detail to tell them apart.

    Such as `evaluate.sampler dpmpp_2m (steps 10), evaluate.samples 500`.
    """
    columns: dict[str, list[object]] = {}
    for fields in changes:
        for field, value in fields.items():
            columns.setdefault(field, []).append(value)
    telling = {field: _telling(column) for field, column in columns.items()}
    return [
        ", ".join(f"{field} {setting(value, telling[field])}" for field, value in fields.items())
        for fields in changes
    ]


def _telling(values: Sequence[object]) -> list[object]:
    """A few of the values, in which each parameter of a component differs if it does in any of them."""
    first: dict[str, Mapping[str, object]] = {}
    other: dict[tuple[str, str], Mapping[str, object]] = {}
    for value in values:
        if isinstance(value, Mapping):
            name = str(value.get("name"))
            known = first.setdefault(name, value)
            for key in {**known, **value}:
                if value.get(key) != known.get(key):
                    other.setdefault((name, key), value)
    return [*first.values(), *other.values()]
