"""Dropping inherited keys that a block's new component does not have.

Giving a block another `name` drops the keys that only the old component has. Which keys a component has is
known only once all plugins are loaded. Files are therefore merged key by key first, with a record of the
component that each key was written for (`Source.owners`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..components.registry import Component
from ..components.slot import Slot
from ..components.strict import UNSET
from ..errors import SpecError
from .schema import Spec
from .source import KeyPath, Source


def without_inherited(source: Source) -> tuple[dict[str, object], list[str]]:
    """The data without keys of replaced components, and a note for each block that had such keys.

    An unknown key stays, so that validation rejects it, if it was written for the block's present component,
    or if the component that it was written for does not have it either.
    """
    notes: list[str] = []
    return _block(Spec, source.data, (), source, notes), notes


def _block(
    model: type[BaseModel], block: Mapping[str, object], path: KeyPath, source: Source, notes: list[str]
) -> dict[str, object]:
    """A block of the spec, with inherited keys dropped from each component in it."""
    out = dict(block)
    for key, field in model.model_fields.items():
        value = block.get(key)
        slot, listed, inner = _kind(field)
        if slot is not None and listed and isinstance(value, list):
            out[key] = [
                _component(slot, item, (*path, key, index), source, notes) for index, item in enumerate(value)
            ]
        elif slot is not None and not listed:
            out |= {key: _component(slot, value, (*path, key), source, notes)} if key in block else {}
        elif inner is not None and isinstance(value, Mapping):
            out[key] = _block(inner, value, (*path, key), source, notes)
    return out


def _component(slot: Slot, block: object, path: KeyPath, source: Source, notes: list[str]) -> object:
    """A component's block without the inherited keys that the component lacks; any other value unchanged."""
    if not isinstance(block, Mapping):
        return block
    default = (slot.default or {}).get("name")
    component = _registered(slot, block.get("name", default))
    if component is None:
        return block
    dropped = {}
    for key, value in block.items():
        if key == "name" or key in component.model_fields or value is UNSET:
            continue
        owner = source.owners.get((*path, key)) or default
        previous = _registered(slot, owner)
        if (
            owner is not None
            and previous is not component
            and (previous is None or key in previous.model_fields)
        ):
            dropped[key] = owner
    if dropped:
        owners = [repr(owner) for owner in dict.fromkeys(dropped.values())]
        marks = dict.fromkeys(str(mark) for key in dropped if (mark := source.mark((*path, key))))
        notes.append(
            f"{'.'.join(map(str, path))}: '{component.component_name}' does not have {_listed(dropped)},"
            f" set for {_listed(owners)} at {_listed(marks)}: left out"
        )
    return _block(
        component, {key: value for key, value in block.items() if key not in dropped}, path, source, notes
    )


def _registered(slot: Slot, name: object) -> type[Component] | None:
    """The component of that name; None if there is none."""
    try:
        return slot.registry.get(name) if isinstance(name, str) else None
    except SpecError:  # validation reports the unknown name
        return None


def _kind(field: FieldInfo) -> tuple[Slot | None, bool, type[BaseModel] | None]:
    """The content of a field: (slot of its component, whether it is a list of components, model of a block).

    Both the slot and the model are None for a plain value.
    """
    slot = next((fact for fact in field.metadata if isinstance(fact, Slot)), None)
    if slot is not None:
        return slot, False, None
    for part in _parts(field.annotation):
        slot = next((fact for fact in getattr(part, "__metadata__", ()) if isinstance(fact, Slot)), None)
        if slot is not None:
            return slot, get_origin(field.annotation) is tuple, None
        if isinstance(part, type) and issubclass(part, BaseModel):
            return None, False, part
    return None, False, None


def _parts(annotation: object) -> Iterator[object]:
    """An annotation and all annotations inside it."""
    """An annotation and all annotations inside it."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else str(last)
