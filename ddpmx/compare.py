"""`compare`: a comparison as a table in the terminal, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .compare_words import difference, summary
from .comparison import Comparison, Group, Standing
from .estimate import amount
from .results import Result, Run

ARROWS = {"lower": "↓", "higher": "↑"}
FIGURES = ("value", "low", "high", "rank", "not_ranked", "delta", "delta_low", "delta_high")


def print_table(comparison: Comparison, groups: Sequence[Group], out: IO[str]) -> None:
    """The groups as rows, then what they say; as wide as it needs to be where `out` is no terminal."""
    live = out.isatty()
    console = Console(file=out, highlight=False, soft_wrap=not live, width=None if live else 10_000)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings(comparison):
        table.add_column(Text(heading), overflow="fold")
    for group in groups:
        table.add_row(*map(Text, cells(comparison, group)), style="bold" if live and any(_won(group)) else "")
    if live:
        console.print(table)
    else:
        with console.capture() as capture:
            console.print(table)
        out.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
    out.write("\n")
    for line in summary(comparison):
        console.print(Text(line))


def headings(comparison: Comparison) -> list[str]:
    """Of the table; an arrow says which direction is better."""
    measured = [heading for measure in comparison.measures for heading in (f"{measure} {_arrow(comparison, measure)}", "rank", "Δ")]
    return ["run", "status", "seeds", *comparison.fields, *measured]


def cells(comparison: Comparison, group: Group) -> list[str]:
    """A row of the table."""
    row = [group.label, group.status, str(len({run.seed for run in group.runs})), *group.texts.values()]
    for measure in comparison.measures:
        standing = group.standings.get(measure)
        if standing is None:
            row += ["–", "", ""]
        else:
            delta = difference(group, standing, comparison.baseline, measure)
            row += [amount(standing.estimate, standing.seeds), str(standing.rank or f"– {standing.mark}"), delta]
    return row


def to_csv(comparison: Comparison, groups: Sequence[Group]) -> str:
    """A row for each group, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = [measure if key == "value" else f"{measure}.{key}" for measure in comparison.measures for key in FIGURES]
    writer.writerow(["run", "status", "seeds", "folders", *comparison.fields, *measured])
    for group in groups:
        row: list[Any] = [group.label, group.status, len({run.seed for run in group.runs}), " ".join(str(run.path) for run in group.runs)]
        row += group.texts.values()
        for measure in comparison.measures:
            standing = group.standings.get(measure)
            row += [None] * len(FIGURES) if standing is None else _figures(standing).values()
        writer.writerow(["" if value is None else value for value in row])
    return text.getvalue()


def to_data(comparison: Comparison, groups: Sequence[Group]) -> dict[str, Any]:
    """All of it, as JSON types."""
    return {
        "baseline": comparison.baseline.label,
        "fields": list(comparison.fields),
        "measures": list(comparison.measures),
        "summary": summary(comparison),
        "groups": [
            {
                "run": group.label,
                "status": group.status,
                "fields": group.fields,
                "measures": {
                    measure: {
                        **_figures(standing),
                        "seeds": standing.seeds,
                        "better": standing.better,
                        "condition": dict(standing.condition),
                    }
                    for measure, standing in group.standings.items()
                },
                "runs": [_run(run) for run in group.runs],
            }
            for group in groups
        ],
    }


def _figures(standing: Standing) -> dict[str, Any]:
    """A standing's numbers, under the names FIGURES."""
    low, high = standing.estimate.interval or (None, None)
    delta = standing.delta
    delta_low, delta_high = (delta and delta.interval) or (None, None)
    values = (standing.estimate.value, low, high, standing.rank, standing.mark or None, delta and delta.value, delta_low, delta_high)
    return dict(zip(FIGURES, values, strict=True))


def _run(run: Run) -> dict[str, Any]:
    return {
        "path": str(run.path),
        "id": run.id,
        "name": run.name,
        "seed": run.seed,
        "status": run.status,
        "why": run.why,
        "epochs": len(run.epochs),
        "seconds": run.seconds,
        "results": {measure: _result(result) for measure, result in run.results.items()},
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "value": result.estimate.value,
        "interval": result.estimate.interval,
        "epoch": result.epoch,
        "last": result.last,
        "best": result.best,
        "best_epoch": result.best_epoch,
        "score": dict(result.score),
    }


def _arrow(comparison: Comparison, measure: str) -> str:
    return ARROWS[comparison.standings(measure)[0][1].better]


def _won(group: Group) -> list[str]:
    """The measures by which the group is best and no other is within noise of it."""
    return [measure for measure, standing in group.standings.items() if standing.won]
