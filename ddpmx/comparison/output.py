"""`compare`: a comparison as a table in the terminal, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..pages.quality import data
from ..text import lines, visible
from ..theory.estimate import amount
from . import others
from .comparison import Comparison
from .groups import Group, Standing
from .ranking import Ranking
from .results import Result, Run
from .words import difference, note, summary

COLUMNS = ("value", "low", "high", "rank", "not_ranked", "delta", "delta_low", "delta_high")
"""Names of a standing's numbers in CSV and JSON."""


def print_table(comparison: Comparison, groups: Sequence[Group], out: IO[str]) -> None:
    """Print a row for each group, then the summary; if `out` is not a terminal, rows are never wrapped."""
    live = out.isatty()
    console = Console(file=out, highlight=False, soft_wrap=not live, width=None if live else 10_000)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    columns = _short(comparison, groups) if live else _full(comparison, groups)
    for heading in columns:
        table.add_column(Text(visible(heading)), overflow="fold")
    for group, row in zip(groups, zip(*columns.values(), strict=True), strict=True):
        table.add_row(
            *(Text(lines(cell)) for cell in row),
            style="bold" if live and any(standing.won for standing in group.standings.values()) else "",
        )
    with console.capture() as capture:
        console.print(table)
    out.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()) + "\n")
    for line in summary(comparison):
        console.print(Text(visible(line)))


def _full(comparison: Comparison, groups: Sequence[Group]) -> dict[str, list[str]]:
    """Columns by heading, with one line per group."""
    columns = _specs(comparison, groups)
    for measure in comparison.measures:
        pairs = [(group, group.standings.get(measure)) for group in groups]
        columns[_heading(comparison, measure)] = [
            "–" if standing is None else amount(standing.estimate, standing.seeds) for _, standing in pairs
        ]
        columns[f"{measure} rank"] = [
            "" if standing is None else str(standing.rank or f"– {standing.mark}") for _, standing in pairs
        ]
        columns[f"{measure} Δ"] = [
            "" if standing is None else difference(group, standing, comparison, measure)
            for group, standing in pairs
        ]
    return columns


def _short(comparison: Comparison, groups: Sequence[Group]) -> dict[str, list[str]]:
    """Fewer and narrower columns, for a terminal.

    Columns that are trivial or repeat the label are omitted; the rank stands below the value.
    """
    columns = {
        heading: values
        for heading, values in _specs(comparison, groups).items()
        if heading == "run"
        or not (
            set(values) <= {"finished"}
            or (heading == "seeds" and set(values) == {"1"})
            or all(f"={value}" in group.label for group, value in zip(groups, values, strict=True))
        )
    }
    for measure in comparison.measures:
        pairs = [(group, group.standings.get(measure)) for group in groups]
        columns[_heading(comparison, measure)] = [
            "–"
            if standing is None
            else f"{amount(standing.estimate, standing.seeds)}\n{note(group, standing, comparison, measure)}"
            for group, standing in pairs
        ]
    return columns


def _specs(comparison: Comparison, groups: Sequence[Group]) -> dict[str, list[str]]:
    return {
        "run": [group.label for group in groups],
        "status": [group.status for group in groups],
        "seeds": [str(len({run.seed for run in group.runs})) for group in groups],
        **{path: [group.texts[path] for group in groups] for path in comparison.fields},
    }


def _heading(comparison: Comparison, measure: str) -> str:
    """The measure's name, with an arrow for the better direction."""
    return f"{measure} {comparison.arrow(measure)}"


def to_csv(comparison: Comparison, groups: Sequence[Group]) -> str:
    """A row for each group, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    headings, *rows = to_rows(comparison, groups)
    writer.writerow(headings)
    for row in rows:
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def to_rows(comparison: Comparison, groups: Sequence[Group]) -> Iterator[list[object]]:
    """The headings, then a row for each group: numbers in full, None for what a group lacks."""
    measured = [
        measure if key == "value" else f"{measure}.{key}"
        for measure in comparison.measures
        for key in COLUMNS
    ]
    yield ["run", "status", "seeds", "folders", *comparison.fields, *measured, "baseline"]
    for group in groups:
        folders = " ".join(str(run.path) for run in group.runs)
        row: list[object] = [group.label, group.status, len({run.seed for run in group.runs}), folders]
        row += group.texts.values()
        for measure in comparison.measures:
            standing = group.standings.get(measure)
            row += [None] * len(COLUMNS) if standing is None else _numbers(standing).values()
        row.append("yes" if group is comparison.baseline else "no")
        yield row


def to_data(comparison: Comparison, groups: Sequence[Group]) -> dict[str, object]:
    """The whole comparison as JSON types."""
    return {
        "baseline": comparison.baseline.label,
        "fields": list(comparison.fields),
        "measures": list(comparison.measures),
        "summary": summary(comparison),
        "differences": {
            measure: list(_differences(ranking)) for measure, ranking in comparison.rankings.items()
        },
        "curves": [
            {"groups": list(training.groups), **data(quality)}
            for training in comparison.qualities
            for quality in training.qualities
        ],
        "groups": [
            {
                "run": group.label,
                "baseline": group is comparison.baseline,
                "status": group.status,
                "fields": group.fields,
                "measures": {
                    measure: {
                        **_numbers(standing),
                        "seeds": standing.seeds,
                        "better": standing.better,
                        "condition": dict(standing.condition),
                    }
                    for measure, standing in group.standings.items()
                },
                "others": others.to_data(group),
                "runs": [_run(run) for run in group.runs],
            }
            for group in groups
        ],
    }


def _differences(ranking: Ranking) -> Iterator[dict[str, object]]:
    """The differences of all pairs of comparable groups; their intervals hold together."""
    for (i, k), found in ranking.family.differences.items() if len(ranking.groups) > 1 else ():
        low, high = found.interval or (None, None)
        yield {
            "a": ranking.groups[i].label,
            "b": ranking.groups[k].label,
            "value": found.value,
            "low": low,
            "high": high,
            "about": found.level,
            "images_sd": found.images_sd,
            "seeds_sd": found.seeds_sd,
        }


def _numbers(standing: Standing) -> dict[str, object]:
    """A standing's numbers under the names COLUMNS."""
    low, high = standing.estimate.interval or (None, None)
    delta = standing.delta
    delta_low, delta_high = (delta and delta.interval) or (None, None)
    values = (
        standing.estimate.value,
        low,
        high,
        standing.rank,
        standing.mark or None,
        delta and delta.value,
        delta_low,
        delta_high,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _run(run: Run) -> dict[str, object]:
    return {
        "path": str(run.path),
        "id": run.id,
        "name": run.name,
        "seed": run.seed,
        "status": run.status,
        "why": run.why,
        "epochs": run.history.epochs,
        "seconds": run.history.seconds,
        "training": str(run.training),
        "results": {measure: _result(result) for measure, result in run.results.items()},
    }


def _result(result: Result) -> dict[str, object]:
    return {
        "value": result.estimate.value,
        "interval": result.estimate.interval,
        "epoch": result.epoch,
        "last": result.last,
        "best": result.best,
        "best_epoch": result.best_epoch,
        "score": dict(result.score or {}),
    }
