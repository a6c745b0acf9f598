"""Claims and their verdicts as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..spec.claims import Equals
from ..text import visible
from .judged import Judged
from .verdict import Verdict
from .words import NONE, measured, published, tally

STYLES = {"holds": "bold green", "fails": "bold red", "undecided": "yellow"}
"""Colours of the verdicts, where there are colours."""
GAP = 2
"""Spaces between columns."""
COLUMNS = ("verdict", "claim", "measured", "published", "seeds")


def print_claims(judged: Sequence[Judged], out: IO[str]) -> None:
    """Print a table for each sweep; if `out` is not a terminal, without colours or wrapped lines."""
    for index, one in enumerate(judged):
        out.write("\n" if index else "")
        if out.isatty():
            out.write(f"{_heading(one)}\n\n")
            _print_wrapped(one.verdicts, Console(file=out, highlight=False))
        else:
            out.write("".join(f"{line}\n" for line in lines_of(one)))


def lines_of(judged: Judged) -> list[str]:
    """The table of a sweep as plain lines, one for each claim and some below it."""
    rows = [list(COLUMNS), *(_cells(verdict) for verdict in judged.verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = " " * GAP
    head, *lines = (
        gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    indent = " " * widths[0] + gap
    out = [_heading(judged), "", head]
    for verdict, line in zip(judged.verdicts, lines, strict=True):
        out += [line, *(f"{indent}{below}" for below in _below(verdict))]
    return out


def _heading(judged: Judged) -> str:
    return visible(f"claims of {judged.sweep}: {tally(judged.verdicts)}")


def _print_wrapped(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print a row for each claim, its cells wrapped, and below it lines of the terminal's full width."""
    rows = [_cells(verdict) for verdict in verdicts]
    widths = _widths([list(COLUMNS), *rows], console.width)
    console.print(_row([Text(heading, "bold") for heading in COLUMNS], widths))
    for verdict, (mark, *others) in zip(verdicts, rows, strict=True):
        console.print(_row([Text(mark, STYLES[mark]), *map(Text, others)], widths))
        for line in _below(verdict):
            console.print(Padding(Text(line, "dim"), (0, 0, 0, widths[0] + GAP)))


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Table:
    """Cells side by side."""
    row = Table.grid(padding=(0, GAP, 0, 0))
    for width in widths:
        row.add_column(width=width, overflow="fold")
    row.add_row(*cells)
    return row


def _widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of the columns: the figures get what they need, at most 3/10 of the room each."""
    mark, claim, measured, published, seeds = (max(map(len, column)) for column in zip(*rows, strict=True))
    room -= mark + seeds + GAP * len(COLUMNS)
    measured, published = min(measured, room * 3 // 10), min(published, room * 3 // 10)
    return [mark, min(claim, max(room - measured - published, 1)), measured, published, seeds]


def _cells(verdict: Verdict) -> list[str]:
    """The cells of a claim's row, one for each of COLUMNS."""
    claim = verdict.claim
    seeds = NONE if isinstance(claim, Equals) else str(verdict.seeds)
    texts = [verdict.verdict, claim.says, measured(verdict), published(claim.published), seeds]
    return [visible(text) for text in texts]


def _below(verdict: Verdict) -> Iterator[str]:
    """What decided a claim, what would settle it, and its source: a line each."""
    if verdict.note:
        yield visible(verdict.note)
    if verdict.needs:
        yield visible(f"{'needs' if verdict.verdict == 'undecided' else 'missing'}: {verdict.needs}")
    yield visible(f"source: {verdict.claim.source}")
