"""How the specs of several runs differ: the fields, their values as text, and a label for each spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..spec import source
from ..spec.schema import difference
from ..text import setting


def differing(specs: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Dotted paths at which resolved specs differ, in the spec's order.

    A different component counts as one path, and so does a block that some specs lack.
    """
    paths = [path for spec in specs for path in difference(specs[0], spec)]
    blocks = {path.removesuffix(".name") for path in paths if path.endswith(".name")}
    whole = blocks | {path for path in paths if any(other.startswith(f"{path}.") for other in paths)}
    merged = dict.fromkeys(
        next((block for block in sorted(whole) if f"{path}.".startswith(f"{block}.")), path) for path in paths
    )
    top = list(dict.fromkeys(key for spec in specs for key in spec))
    return tuple(sorted(merged, key=lambda path: top.index(path.split(".")[0])))


def value_at(spec: Mapping[str, object], path: str) -> object:
    """The value at a dotted path; None if there is none."""
    return source.value_at(spec, tuple(path.split(".")))


def texts(column: Sequence[object]) -> list[str]:
    """Texts of the values at one path, detailed enough to tell them apart."""
    return [setting(value, column) for value in column]


def labels(names: Sequence[set[str]], fields: Mapping[str, Sequence[str]]) -> list[str]:
    """A unique label for each spec: its runs' common name if no other spec has it, else its differences.

    `names` are the names of each spec's runs; `fields` has, for each differing path, the text of every spec.
    """
    shared = [next(iter(name)) if len(name) == 1 else "" for name in names]
    result: list[str] = []
    for index, name in enumerate(shared):
        if not (name and shared.count(name) == 1):
            name = " ".join(
                f"{path.split('.')[-1]}={column[index]}" for path, column in fields.items()
            ) or min(names[index])
        result.append(f"{name} ({index + 1})" if name in result else name)
    return result
