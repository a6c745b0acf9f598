"""`compare --latex`: a comparison as a table in the style of LaTeX's package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..text import visible
from .comparison import Comparison
from .groups import Group
from .tables import Cell, PaperTable, paper_table
from .words import summary

LONGEST = 40
"""Most characters of a text in a column that is not broken into lines."""
SPECIAL = {
    **{character: rf"\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "±": r"$\pm$",
    "−": "$-$",
    "≈": r"$\approx$",
    "Δ": r"$\Delta$",
    "·": r"$\cdot$",
    "–": "--",
}
"""LaTeX for characters that have a meaning in it, or that pdfLaTeX's fonts lack."""
_TO_ESCAPE = re.compile(f"-(?=-)|[{re.escape(''.join(SPECIAL))}]")


def to_latex(comparison: Comparison, groups: Sequence[Group]) -> str:
    """A `table` environment with the groups in the order given, and how to read it in the caption.

    The comparison in words is in comments above it.
    """
    table = paper_table(comparison, groups)
    comments = ["Made by ddpmx compare; needs \\usepackage{booktabs}.", *summary(comparison)]
    lines = [f"% {visible(line)}" for line in comments]
    lines += [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escaped(' '.join([f'{table.title}.', *table.notes]))}}}",
        r"  \label{tab:comparison}",
        *_tabular(
            "".join("r" if column.is_number else _kind(table, i) for i, column in enumerate(table.columns)),
            [_escaped(column.heading) for column in table.columns],
            [[_cell(cell) for cell in row] for row in table.rows],
        ),
    ]
    if table.footnotes:
        notes = "; ".join(f"$^{{{letters}}}$ {_escaped(text)}" for letters, text in table.footnotes.items())
        lines += [r"  \par\smallskip", rf"  {{\footnotesize {notes}}}"]
    if table.differences:
        lines += [
            r"  \par\medskip",
            *_tabular(
                r"lp{0.7\linewidth}",
                ["run", f"differs from {_escaped(table.baseline)} in"],
                [[_escaped(cell) for cell in row] for row in table.differences],
            ),
        ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _kind(table: PaperTable, column: int) -> str:
    """`l` for a column of short texts; a paragraph for one of long texts."""
    longest = max((len(row[column].text) for row in table.rows), default=0)
    return r"p{0.4\linewidth}" if longest > LONGEST else "l"


def _tabular(kinds: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield rf"  \begin{{tabular}}{{{kinds}}}"
    yield r"    \toprule"
    yield f"    {_row(headings)}"
    yield r"    \midrule"
    yield from (f"    {_row(row)}" for row in rows)
    yield r"    \bottomrule"
    yield r"  \end{tabular}"


def _row(cells: Sequence[str]) -> str:
    r"""A row; after `\\`, LaTeX would take a bracket or star at the start of the next one as an argument."""
    return " & ".join(["{}" + cells[0] if cells[0][:1] in ("[", "*") else cells[0], *cells[1:]]) + r" \\"


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    text = rf"\textbf{{{text}}}" if cell.is_bold else text
    return f"{text}$^{{{cell.footnote}}}$" if cell.footnote else text


def _escaped(text: str) -> str:
    """Plain text for LaTeX; two hyphens stay two instead of becoming a dash."""
    return _TO_ESCAPE.sub(lambda match: SPECIAL.get(match[0], "-{}"), visible(text))
