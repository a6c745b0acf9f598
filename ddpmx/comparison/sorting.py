"""Sorts the groups of a comparison."""

from __future__ import annotations

from ..errors import SpecError, nearest
from .comparison import Comparison
from .groups import Group


def sort(comparison: Comparison, key: str | None) -> list[Group]:
    """Sort by a measure (best first), a differing field, `name` or `status`.

    Raises SpecError for other keys.
    """
    if key is None:
        return list(comparison.groups)
    if key in comparison.measures:
        return sorted(comparison.groups, key=lambda group: (key not in group.standings, _order(group, key)))
    if key in comparison.fields:
        return sorted(comparison.groups, key=lambda group: _natural(group.fields[key]))
    if key not in ("name", "status"):
        valid = [*comparison.measures, *comparison.fields, "name", "status"]
        raise SpecError(f"the comparison has no '{key}' to sort by", field="--sort", hint=nearest(key, valid))
    return sorted(comparison.groups, key=lambda group: group.label if key == "name" else group.status)


def _order(group: Group, measure: str) -> float:
    return group.standings[measure].order if measure in group.standings else 0.0


def _natural(value: object) -> tuple[bool, float, str]:
    """A sort key that puts numbers first, by size, and then everything else, by its text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return False, float(value), str(value)
    return True, 0.0, str(value)
