"""Claims and their verdicts as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..spec.claims import Equals
from ..text import visible
from .judged import Judged
from .verdict import Verdict
from .words import NONE, measured, published, tally

STYLES = {"holds": "bold green", "fails": "bold red", "undecided": "yellow"}
"""Colours of the verdicts, where there are colours."""
COLUMNS = ("verdict", "claim", "measured", "published", "seeds")


def print_claims(judged: Sequence[Judged], out: IO[str]) -> None:
    """Print a table for each sweep; if `out` is not a terminal, without colours or wrapped lines."""
    for index, one in enumerate(judged):
        out.write("\n" if index else "")
        if out.isatty():
            out.write(f"{_heading(one)}\n\n")
            Console(file=out, highlight=False).print(_table(one.verdicts))
        else:
            out.write("".join(f"{line}\n" for line in lines_of(one)))


def lines_of(judged: Judged) -> list[str]:
    """The table of a sweep as plain lines, one for each claim and some below it."""
    rows = [list(COLUMNS), *(_cells(verdict) for verdict in judged.verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
    indent = " " * (widths[0] + 2)
    out = [_heading(judged), "", head]
    for verdict, line in zip(judged.verdicts, lines, strict=True):
        out += [line, *(f"{indent}{below}" for below in _below(verdict))]
    return out


def _heading(judged: Judged) -> str:
    return visible(f"claims of {judged.sweep}: {tally(judged.verdicts)}")


def _table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each claim, wrapped to the terminal's width, with the lines below the claim in its cell."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in COLUMNS:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("verdict", "seeds"))
    for verdict in verdicts:
        mark, says, *others = _cells(verdict)
        below = Text("".join(f"\n{line}" for line in _below(verdict)), style="dim")
        table.add_row(Text(mark, STYLES[mark]), Text(says) + below, *map(Text, others))
    return table


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
