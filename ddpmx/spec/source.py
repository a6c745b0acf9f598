"""The data of a spec as it is merged from files and overrides, with the position of every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ..components.strict import UNSET
from ..errors import Mark

KeyPath = tuple[str | int, ...]
"""The keys and list indices that lead to a value: `("track", 0, "path")`."""
Key = TypeVar("Key", str, int)  # a key of a mapping, or an index of a list


@dataclass
class Source:
    """Merged data, with the position of every value and the component that it was written for.

    A layer is one file, or all overrides of a command. When a layer ends, each key that it wrote gets an
    owner. A key with a mark but no entry in `owners` belongs to the layer that is still being written.
    """

    data: dict[str, object] = field(default_factory=dict)
    """The merged mapping, as plain data."""
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    """The position at which the value at each path was written."""
    owners: dict[KeyPath, str | None] = field(default_factory=dict)
    """The `name` of a key's block at the end of the layer that last wrote the key; None without one."""

    def mark(self, path: KeyPath) -> Mark | None:
        """The position of the value at `path`, or else of the nearest block around it that has one."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path)

    def merge(self, over: Source) -> Source:
        """The two sources deep-merged, `over` having priority.

        Mappings are joined; lists and scalars of `over` replace those below; null over an existing key unsets
        it.
        """
        replaced: set[KeyPath] = set()
        data = _merge(self.data, over.data, (), replaced)
        kept = {
            path: mark
            for path, mark in self.marks.items()
            if not any(path[:n] in replaced for n in range(1, len(path) + 1))
        }
        merged = Source(data, kept, {path: owner for path, owner in self.owners.items() if path in kept})
        for written, mark in over.marks.items():
            path = _with_indices(data, written)
            for block in (path[:n] for n in range(1, len(path) + 1)):
                if isinstance(value_at(self.data, block), str) and isinstance(value_at(data, block), Mapping):
                    # A bare string became a block, whose `name` was written where the string was.
                    merged.marks.setdefault((*block, "name"), self.marks.get(block, mark))
                merged.marks.setdefault(block, mark)  # an override has a mark for its last key only
                merged.owners.pop(block, None)
            merged.marks[path] = mark
        for written, owner in over.owners.items():
            path = _with_indices(data, written)
            merged.owners[path] = _name(self.data, path[:-1]) if owner is None else owner
        return merged

    def layer(self) -> Source:
        """The same source with its current layer ended; whatever is merged into it next is another layer."""
        owners = {path: _name(self.data, path[:-1]) for path in self.marks}
        return Source(self.data, self.marks, owners | self.owners)


def value_at(data: object, path: KeyPath) -> object:
    """The value at a path in plain data; None if there is none."""
    for key in path:
        if isinstance(data, list):
            data = data[key] if isinstance(key, int) and key < len(data) else None
        else:
            data = data.get(key) if isinstance(data, Mapping) else None
    return data


def existing(data: object, keys: KeyPath) -> KeyPath:
    """The longest beginning of a path that exists in the data, so that its line can be found."""
    for depth, key in enumerate(keys):
        in_list = isinstance(data, list) and isinstance(key, int) and key < len(data)
        if not in_list and not (isinstance(data, dict) and key in data):
            return keys[:depth]
        data = value_at(data, (key,))
    return keys


def nested(keys: Sequence[str], value: object) -> dict[str, object]:
    """A value below one or more keys: `{train: {lr: value}}`."""
    *outer, last = keys
    block: dict[str, object] = {last: value}
    for key in reversed(outer):
        block = {key: block}
    return block


def _name(data: object, path: KeyPath) -> str | None:
    """The `name` of the block at a path, or the bare string that stands for the block."""
    block = value_at(data, path)
    name = block.get("name") if isinstance(block, Mapping) else block
    return name if isinstance(name, str) else None


def _with_indices(data: object, path: KeyPath) -> KeyPath:
    """The path with integer list indices, which overrides write as text."""
    out: KeyPath = ()
    for key in path:
        out = (*out, int(key) if isinstance(data, list) and isinstance(key, str) and key.isdecimal() else key)
        data = value_at(data, out[-1:])
    return out


def _merge(
    base: Mapping[Key, object], over: Mapping[Key, object], path: KeyPath, replaced: set[KeyPath]
) -> dict[Key, object]:
    """`over` merged over `base`. Paths at which values of `base` were replaced are added to `replaced`."""
    out = dict(base)
    for key, new in over.items():
        old, here = out.get(key), (*path, key)
        # A bare string is short for {name: string}, so it merges like one.
        if isinstance(old, Mapping) and isinstance(new, str):
            new = {"name": new}
        elif isinstance(old, str) and isinstance(new, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            out[key] = _merge(old, new, here, replaced)
            continue
        # An override such as evaluate.metrics.0.reference=train changes an item of a list.
        if isinstance(old, list) and isinstance(new, Mapping):
            indices = {str(i): i for i in range(len(old))}
            if new.keys() <= indices.keys():
                items = {indices[i]: value for i, value in new.items()}
                out[key] = list(_merge(dict(enumerate(old)), items, here, replaced).values())
                continue
        replaced.add(here)
        out[key] = UNSET if new is None and key in base else new
    return out
