"""YAML 1.2 text -> plain data that remembers where each value was written.

Every failure is a SpecError with `file:line`. Refused: duplicate keys, tags, merge keys, several documents, NaN and
infinity, binary text, files over 300 kB, nesting over 50 levels, and over 10,000 values, those that aliases repeat included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..components.strict import UNSET
from ..errors import Findings, Mark, SpecError
from ..files import read_text
from ..text import shortened

MAX_BYTES, MAX_DEPTH, MAX_VALUES = 300_000, 50, 10_000
TOO_MANY = "holds too many values or levels, or its aliases expand beyond reason"
KeyPath = tuple[str | int, ...]
Key = TypeVar("Key", str, int)  # of a mapping or a list

# YAML 1.2 core schema, section 10.3.2
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]"
)  # no path holds these, and a terminal obeys some
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Document:
    """The plain data of one text, and the mark of every value in it by path."""

    data: object
    marks: dict[KeyPath, Mark]


@dataclass
class Source:
    """Data of a document that is a mapping, the mark of every value in it by path, and beside which name each was written.

    `owners` tells of each key the `name` that its block had, with all below it, at the end of the layer that wrote the
    key last; None where it had none. A layer is a file, or all overrides of a command. A key with a mark but no owner
    belongs to the layer that is still being written.
    """

    data: dict[str, object] = field(default_factory=dict)
    marks: dict[KeyPath, Mark] = field(default_factory=dict)
    owners: dict[KeyPath, str | None] = field(default_factory=dict)

    def mark(self, path: KeyPath) -> Mark | None:
        """Where the value at `path` was written, or else the nearest block around it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path)

    def merge(self, over: Source) -> Source:
        """Deep merge: mappings join, lists and scalars of `over` replace; null over a key that is there removes it."""
        replaced: set[KeyPath] = set()
        data = _merge(self.data, over.data, (), replaced)
        kept = {
            at: mark
            for at, mark in self.marks.items()
            if not any(at[:n] in replaced for n in range(1, len(at) + 1))
        }
        merged = Source(data, kept, {at: owner for at, owner in self.owners.items() if at in kept})
        for path, mark in over.marks.items():
            at = _in_lists(data, path)
            for block in (at[:n] for n in range(1, len(at) + 1)):
                if isinstance(value_at(self.data, block), str) and isinstance(value_at(data, block), Mapping):
                    merged.marks.setdefault(
                        (*block, "name"), self.marks.get(block, mark)
                    )  # which the bare string was
                merged.marks.setdefault(block, mark)  # an override has a mark for its last key alone
                merged.owners.pop(block, None)
            merged.marks[at] = mark
        for path, owner in over.owners.items():
            at = _in_lists(data, path)
            merged.owners[at] = _name(self.data, at[:-1]) if owner is None else owner
        return merged

    def layer(self) -> Source:
        """The same, with the layer that was being written at its end: what is merged from now on is another one."""
        return Source(
            self.data, self.marks, {at: _name(self.data, at[:-1]) for at in self.marks} | self.owners
        )


def value_at(data: object, path: KeyPath) -> object:
    """The value at a path of plain data; None where there is none."""
    for key in path:
        if isinstance(data, list):
            data = data[key] if isinstance(key, int) and key < len(data) else None
        else:
            data = data.get(key) if isinstance(data, Mapping) else None
    return data


def nested(keys: Sequence[str], value: object) -> dict[str, object]:
    """Plain data that hold only this value, below at least one key: `{train: {lr: value}}`."""
    *outer, last = keys
    block: dict[str, object] = {last: value}
    for key in reversed(outer):
        block = {key: block}
    return block


def _name(data: object, path: KeyPath) -> str | None:
    """The `name` of the block at a path, or the bare string that stands for one."""
    block = value_at(data, path)
    name = block.get("name") if isinstance(block, Mapping) else block
    return name if isinstance(name, str) else None


def _in_lists(data: object, path: KeyPath) -> KeyPath:
    """The path with the items of lists as numbers, which an override writes as text."""
    out: KeyPath = ()
    for key in path:
        out = (*out, int(key) if isinstance(data, list) and isinstance(key, str) and key.isdecimal() else key)
        data = value_at(data, out[-1:])
    return out


def _merge(
    base: Mapping[Key, object], over: Mapping[Key, object], path: KeyPath, replaced: set[KeyPath]
) -> dict[Key, object]:
    """`base` with `over` over it; the paths whose values are not `base`'s any more go into `replaced`."""
    out = dict(base)
    for key, new in over.items():
        old, at = out.get(key), (*path, key)
        # A bare string is short for {name: string}, so it merges like one.
        if isinstance(old, Mapping) and isinstance(new, str):
            new = {"name": new}
        elif isinstance(old, str) and isinstance(new, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            out[key] = _merge(old, new, at, replaced)
            continue
        if isinstance(old, list) and isinstance(
            new, Mapping
        ):  # an override such as evaluate.metrics.0.reference=train
            items = {str(i): i for i in range(len(old))}
            if new.keys() <= items.keys():
                numbered = {items[i]: value for i, value in new.items()}
                out[key] = list(_merge(dict(enumerate(old)), numbered, at, replaced).values())
                continue
        replaced.add(at)
        out[key] = UNSET if new is None and key in base else new
    return out


def read(path: Path) -> Source:
    """The document in a file. Raises SpecError, without a mark where the file itself cannot be read."""
    document = parse(read_text(path, MAX_BYTES), str(path))
    if not isinstance(document.data, dict):
        raise SpecError("should be a mapping of fields, such as `name: my_run`", mark=Mark(str(path), 1))
    return Source(document.data, document.marks)


def parse(text: str, file: str) -> Document:
    """The value in a text, of whatever type."""
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    yaml.Composer = _Composer  # type: ignore[assignment]
    try:
        nodes = list(islice(yaml.compose_all(text), 2))
    except _TooMany as error:
        raise SpecError(TOO_MANY, mark=Mark(file, error.line)) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"not valid YAML: {_reason(text, line, error)}", mark=Mark(file, line)) from None
    except YAMLError as error:
        raise SpecError(f"not valid YAML: {str(error).splitlines()[0]}", mark=Mark(file, 1)) from None
    except RecursionError:
        raise SpecError("nested too deep", mark=Mark(file, 1)) from None
    if len(nodes) > 1:
        raise SpecError("holds more than one document", mark=Mark(file, nodes[1].start_mark.line + 1))
    if not nodes or nodes[0] is None:
        raise SpecError("is empty", mark=Mark(file, 1))
    builder = _Builder(file)
    data = builder.value(nodes[0], (), 0)
    builder.findings.report()
    return Document(data, builder.marks)


def refuse_unprintable(text: str, mark: Mark, field: str = "") -> None:
    """Raises SpecError for control characters, which escapes in quotes can write, and for halves of a surrogate pair."""
    if found := _UNPRINTABLE.search(text):
        message = f"a text that cannot be printed: it holds the character U+{ord(found[0]):04X}"
        raise SpecError(message, field=field, mark=mark)


def _reason(text: str, line: int, error: MarkedYAMLError) -> str:
    lines = text.splitlines()
    if line <= len(lines) and re.match(r"\s*\t", lines[line - 1]):
        return "a tab; indent with spaces"
    return str(error.problem or error.context)


class _TooMany(Exception):
    def __init__(self, line: int) -> None:
        self.line = line


class _Composer(Composer):
    """Stops at the first value that is too many: composing a megabyte of them takes a minute."""

    count = levels = 0

    def __init__(self, loader: YAML) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # YAML 1.2 allows them

    def compose_node(self, parent: Node | None, index: int | Node | None) -> object:
        self.count += parent is None or index is not None  # the rest are keys
        self.levels += 1
        if self.count > MAX_VALUES or self.levels > MAX_DEPTH + 2:
            raise _TooMany(self.parser.peek_event().start_mark.line + 1)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


class _Builder:
    """Plain data of a node, and the marks of its values; what is wrong goes into `findings`, but for too large a document."""

    def __init__(self, file: str) -> None:
        self.file, self.count = file, 0
        self.marks: dict[KeyPath, Mark] = {}
        self.findings = Findings()

    def value(self, node: Node, path: KeyPath, depth: int) -> object:
        mark = Mark(self.file, node.start_mark.line + 1)
        self.marks.setdefault(path, mark)
        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            raise SpecError(TOO_MANY, mark=mark)
        with self.findings.collect():
            if node.ctag is not None and node.ctag.handle is not None:
                raise SpecError(
                    f"a tag ({node.tag}); a spec has plain values only", field=_dotted(path), mark=mark
                )
            if isinstance(node, ScalarNode):
                return self.scalar(node, path, mark)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        return None

    def mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, object]:
        out: dict[str, object] = {}
        for key_node, value_node in node.value:
            mark = Mark(self.file, key_node.start_mark.line + 1)
            key = self.key(key_node, path, mark)
            if key in out:
                with self.findings.collect():
                    raise SpecError(
                        f"the key '{shortened(key)}' stands twice", field=_dotted((*path, key)), mark=mark
                    )
            elif key:
                self.marks[(*path, key)] = mark
                out[key] = self.value(value_node, (*path, key), depth + 1)
        return out

    def key(self, node: Node, path: KeyPath, mark: Mark) -> str:
        """The key's text; empty where it cannot be one."""
        with self.findings.collect():
            if not isinstance(node, ScalarNode) or not node.value or node.value == "<<":
                raise SpecError(
                    "a key should be a plain string (use `extends` to merge)", field=_dotted(path), mark=mark
                )
            text: str = node.value
            refuse_unprintable(text, mark, _dotted(path))
            return text
        return ""

    def scalar(self, node: ScalarNode, path: KeyPath, mark: Mark) -> str | int | float | bool | None:
        text: str = node.value
        refuse_unprintable(text, mark, _dotted(path))
        if node.style in ('"', "'", "|", ">"):
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _INT.fullmatch(text):
            if len(text) > 100:
                raise SpecError("a number of over 100 digits", field=_dotted(path), mark=mark)
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
        if _NOT_FINITE.fullmatch(text) or _FLOAT.fullmatch(text):
            raise SpecError(f"{shortened(text)} is not a finite number", field=_dotted(path), mark=mark)
        return text


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
