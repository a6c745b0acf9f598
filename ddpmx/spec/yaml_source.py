"""Parsing YAML 1.2 into plain data with the position of every value.

Every failure is a SpecError with `file:line`. Not accepted: duplicate keys, tags, merge keys, several
documents, NaN and infinity, binary text, files over 300 kB, nesting over 50 levels, and more than 10,000
values, counting each value as often as aliases repeat it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ..errors import Findings, Mark, SpecError
from ..files import read_text
from ..text import shortened
from .source import KeyPath, Source

MAX_BYTES, MAX_DEPTH, MAX_VALUES = 300_000, 50, 10_000
TOO_MANY = "should have at most {:,} values and {:,} levels, counting what aliases repeat"

# The core schema of YAML 1.2, section 10.3.2.
_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# Control characters, some of which terminals obey, and lone surrogates, which no UTF-8 file can hold.
_UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")


@dataclass(frozen=True)
class Document:
    """A parsed text."""

    data: object
    """Its value, as plain data of any type."""
    marks: dict[KeyPath, Mark]
    """The position at which the value at each path was written."""


def read(path: Path) -> Source:
    """Parse a file that contains a mapping. Raises SpecError, without a mark if the file is unreadable."""
    document = parse(read_text(path, MAX_BYTES), str(path))
    if not isinstance(document.data, dict):
        raise SpecError("should be a mapping of fields, such as `name: my_run`", mark=Mark(str(path), 1))
    return Source(document.data, document.marks)


def parse(text: str, file: str, most: int = MAX_VALUES) -> Document:
    """Parse a text that holds one value, of any type, with at most `most` values in it.

    Marks and errors name it `file`. Raises SpecError.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.version = (1, 2)
    yaml.Composer = partial(_Composer, most=most)  # type: ignore[assignment]
    try:
        nodes = list(islice(yaml.compose_all(text), 2))
    except _TooMany as error:
        raise SpecError(TOO_MANY.format(most, MAX_DEPTH), mark=Mark(file, error.line)) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"not valid YAML: {_reason(text, line, error)}", mark=Mark(file, line)) from None
    except YAMLError as error:
        raise SpecError(f"not valid YAML: {str(error).splitlines()[0]}", mark=Mark(file, 1)) from None
    except RecursionError:
        raise SpecError("is nested too deeply", mark=Mark(file, 1)) from None
    if len(nodes) > 1:
        message = "should be one document; a second one starts at this line"
        raise SpecError(message, mark=Mark(file, nodes[1].start_mark.line + 1))
    if not nodes or nodes[0] is None:
        raise SpecError("is empty", mark=Mark(file, 1))
    builder = _Builder(file, most)
    data = builder.value(nodes[0], (), 0)
    builder.findings.report()
    return Document(data, builder.marks)


def refuse_unprintable(text: str, mark: Mark, field: str = "") -> None:
    """Raise SpecError for control characters and lone surrogates, which quoted YAML can contain."""
    if match := _UNPRINTABLE.search(text):
        message = f"should be printable text, but contains the character U+{ord(match[0]):04X}"
        raise SpecError(message, field=field, mark=mark)


def _reason(text: str, line: int, error: MarkedYAMLError) -> str:
    lines = text.splitlines()
    if line <= len(lines) and re.match(r"\s*\t", lines[line - 1]):
        return "the line is indented with a tab; use spaces"
    return str(error.problem or error.context)


class _TooMany(Exception):
    """The document has too many values or levels; `line` has the first one too many."""

    def __init__(self, line: int) -> None:
        self.line = line


class _Composer(Composer):
    """A composer that stops at the first value over the limit; a megabyte of them would take a minute."""

    count = levels = 0

    def __init__(self, loader: YAML, most: int) -> None:
        super().__init__(loader)
        self.most = most
        self.warn_double_anchors = False  # YAML 1.2 allows them

    def compose_node(self, parent: Node | None, index: int | Node | None) -> object:
        self.count += parent is None or index is not None  # a key has a parent but no index
        self.levels += 1
        if self.count > self.most or self.levels > MAX_DEPTH + 2:
            raise _TooMany(self.parser.peek_event().start_mark.line + 1)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


class _Builder:
    """Converts nodes to plain data and records the marks of the values.

    Errors are collected in `findings`, except that the document is too large, which is raised at once.
    """

    def __init__(self, file: str, most: int) -> None:
        self.file, self.most, self.count = file, most, 0
        self.marks: dict[KeyPath, Mark] = {}
        self.findings = Findings()

    def value(self, node: Node, path: KeyPath, depth: int) -> object:
        """The value of a node; None if it is invalid."""
        mark = Mark(self.file, node.start_mark.line + 1)
        self.marks.setdefault(path, mark)
        self.count += 1
        if self.count > self.most or depth > MAX_DEPTH:
            raise SpecError(TOO_MANY.format(self.most, MAX_DEPTH), mark=mark)
        with self.findings.collect():
            if node.ctag is not None and node.ctag.handle is not None:
                message = f"should be a plain value without a tag ({node.tag})"
                raise SpecError(message, field=_dotted(path), mark=mark)
            if isinstance(node, ScalarNode):
                return self.scalar(node, path, mark)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, i), depth + 1) for i, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        return None

    def mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, object]:
        """The value of a mapping, without its invalid and duplicate keys."""
        out: dict[str, object] = {}
        for key_node, value_node in node.value:
            mark = Mark(self.file, key_node.start_mark.line + 1)
            key = self.key(key_node, path, mark)
            if key in out:
                with self.findings.collect():
                    message = f"the key '{shortened(key)}' is given twice"
                    raise SpecError(message, field=_dotted((*path, key)), mark=mark)
            elif key:
                self.marks[(*path, key)] = mark
                out[key] = self.value(value_node, (*path, key), depth + 1)
        return out

    def key(self, node: Node, path: KeyPath, mark: Mark) -> str:
        """The key's text; empty if it is not a valid key."""
        with self.findings.collect():
            if not isinstance(node, ScalarNode) or not node.value or node.value == "<<":
                message = "a key should be a plain string (use `extends` to merge)"
                raise SpecError(message, field=_dotted(path), mark=mark)
            text: str = node.value
            refuse_unprintable(text, mark, _dotted(path))
            return text
        return ""

    def scalar(self, node: ScalarNode, path: KeyPath, mark: Mark) -> str | int | float | bool | None:
        """The value of a scalar, whose type follows from its text unless it is quoted."""
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
                raise SpecError("should have at most 100 digits", field=_dotted(path), mark=mark)
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
