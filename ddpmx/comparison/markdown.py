"""`compare --markdown`: a comparison as a table of GitHub's Markdown, with notes below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..text import visible
from .comparison import Comparison
from .groups import Group
from .tables import Cell, PaperTable, paper_table
from .words import summary


def to_markdown(comparison: Comparison, groups: Sequence[Group]) -> str:
    """The table with the groups in the order given, how to read it, and the comparison in words."""
    table = paper_table(comparison, groups)
    parts = [_table(table), _escaped(" ".join(table.notes))]
    parts += [
        "  \n".join(f"<sup>{letters}</sup> {_escaped(text)}" for letters, text in table.footnotes.items())
    ]
    if table.differences:
        rows = [[_escaped(label), _escaped(text)] for label, text in table.differences]
        parts.append(_aligned([["run", f"differs from {_escaped(table.baseline)} in"], *rows], [False] * 2))
    parts.append("\n".join(f"- {_escaped(line)}" for line in summary(comparison)))
    return "\n\n".join(filter(None, parts)) + "\n"


def _table(table: PaperTable) -> str:
    headings = [_escaped(column.heading) for column in table.columns]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return _aligned([headings, *rows], [column.is_number for column in table.columns])


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    text = f"**{text}**" if cell.is_bold else text
    return f"{text}<sup>{cell.footnote}</sup>" if cell.footnote else text


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """A table whose first row is the heading, padded so that its source is readable too."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = [
        "-" * (width - 1) + ":" if is_right else "-" * width
        for width, is_right in zip(widths, right, strict=True)
    ]
    lines = [
        " | ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _escaped(text: str) -> str:
    r"""Plain text for a table cell or a paragraph.

    Underscores within a word have no meaning, and neither have brackets without a target after them.
    """
    return re.sub(r"^\[|[\\`*~<>|&$]|\](?=[\[(])|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible(text))
