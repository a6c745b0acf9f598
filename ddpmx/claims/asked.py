"""Conditions of scores that a sweep varies by its own fields, so that its claims are about scores that differ
in them.

Otherwise scores of different numbers of images, or on different data, do not compare.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..spec.schema import difference
from ..text import listed, number

Condition = Mapping[str, object]
SAMPLES, LIMIT = "evaluate.samples", "dataset.limit"
FIELDS = {SAMPLES: "n", LIMIT: "data"}
"""The condition that each of these fields decides."""
MOST_VALUES = 6
"""Values that a note names."""


def asked(specs: Sequence[Mapping[str, object]]) -> frozenset[str]:
    """The conditions that differ because these resolved specs have different values of a field in FIELDS.

    The data do not count as asked for if the specs differ in other fields of the data set too.
    """
    fields = {path for spec in specs for path in difference(dict(specs[0]), dict(spec))}
    of_data = {path for path in fields if path.split(".")[0] == "dataset"}
    return frozenset(
        condition
        for field, condition in FIELDS.items()
        if field in fields and (field != LIMIT or of_data == {LIMIT})
    )


def note(conditions: Collection[Condition], own_field: str = "") -> str:
    """In which of the conditions that were asked for some scores differ, in words; empty if in none.

    A trend's own field needs no such words.
    """
    found = []
    for key in dict.fromkeys(key for condition in conditions for key in condition):
        values = list(dict.fromkeys(condition.get(key) for condition in conditions))
        if len(values) < 2 or key == FIELDS.get(own_field):
            continue
        numbers = [number(value) for value in values if isinstance(value, int | float)]
        found.append(f"n is {listed(numbers, MOST_VALUES)}" if key == "n" else f"their {key} differ")
    return f"the scores differ in what the sweep varies: {', '.join(found)}" if found else ""
