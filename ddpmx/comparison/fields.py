"""How the specs of several runs differ: which fields, said how, and what each spec is called for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..spec.schema import difference


def differing(specs: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """The dotted paths at which resolved specs differ, in the spec's order.

    A component that is another one, or a block that some lack, counts as one path.
    """
    paths = [path for spec in specs for path in difference(specs[0], spec)]
    blocks = {path.removesuffix(".name") for path in paths if path.endswith(".name")}
    whole = blocks | {path for path in paths if any(other.startswith(f"{path}.") for other in paths)}
    kept = dict.fromkeys(
        next((block for block in sorted(whole) if f"{path}.".startswith(f"{block}.")), path) for path in paths
    )
    top = list(dict.fromkeys(key for spec in specs for key in spec))
    return tuple(sorted(kept, key=lambda path: top.index(path.split(".")[0])))


def value_at(spec: Mapping[str, object], path: str) -> object:
    """The value at a dotted path; None where there is none."""
    value: object = spec
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def text(value: object, others: Sequence[object] = ()) -> str:
    """A value as the spec writes it; a component as its name, with the parameters in which `others` of that name differ."""
    if isinstance(value, list):
        return ", ".join(text(item) for item in value) or "none"
    if not isinstance(value, Mapping):
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    alike = [
        other for other in others if isinstance(other, Mapping) and other.get("name") == value.get("name")
    ]
    told = {
        key: item
        for key, item in value.items()
        if key != "name" and any(other.get(key) != item for other in alike)
    }
    inside = ", ".join(f"{key} {text(item)}" for key, item in told.items())
    name = str(value.get("name", ""))
    return f"{name} ({inside})" if name and inside else name or inside


def texts(column: Sequence[object]) -> list[str]:
    """Values of one path, each told apart from the others."""
    return [text(value, column) for value in column]


def labels(names: Sequence[set[str]], fields: Mapping[str, Sequence[str]]) -> list[str]:
    """What to call each of several specs: the name that its runs share, if no other has it; else what makes it different.

    `names` are those of each spec's runs, `fields` the differing paths with each spec's text.
    """
    shared = [next(iter(name)) if len(name) == 1 else "" for name in names]
    found: list[str] = []
    for index, name in enumerate(shared):
        if not (name and shared.count(name) == 1):
            name = " ".join(
                f"{path.split('.')[-1]}={column[index]}" for path, column in fields.items()
            ) or min(names[index])
        found.append(f"{name} ({index + 1})" if name in found else name)
    return found
