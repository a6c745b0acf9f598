"""Commands that measure runs and compare the results: evaluate and compare."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..terminal.printing import echo
from .options import ALLOW, ALLOW_DATA, DEVICE, IMAGES, JSON, PATH, RUNS, SET, device_of, print_json


@click.command()
@RUNS
@click.option(
    "-n",
    "samples",
    type=click.IntRange(2, IMAGES),
    metavar="N",
    help="How many images to generate. Default: the spec's evaluate.samples.",
)
@click.option(
    "--metrics", metavar="NAME,…", help="Metrics to compute, separated by commas. Default: the spec's."
)
@click.option(
    "--over",
    multiple=True,
    metavar="FIELD=V1,V2,…",
    help="Measure each value of an evaluation's field, or each combination of several; repeatable.",
)
@SET
@DEVICE
@ALLOW
@ALLOW_DATA
@JSON
def evaluate(
    runs: tuple[Path, ...],
    samples: int | None,
    metrics: str | None,
    over: tuple[str, ...],
    overrides: tuple[str, ...],
    device: str | None,
    allow_changed_data: bool,
    as_json: bool,
) -> None:
    """Compute metrics for RUNs and store them in their folders.

    With --over, measures every combination of the values once: what a run has already is not measured again.
    """
    from ..runs.evaluate import EvaluateRequest, lines_of
    from ..runs.evaluate import evaluate as evaluate_run

    names = tuple(name.strip() for name in metrics.split(",")) if metrics else ()
    request = EvaluateRequest(samples, names, over, overrides, allow_changed_data)
    events: list[dict[str, object]] = []

    def show(event: dict[str, object]) -> None:
        events.append(event)
        for line in [] if as_json else lines_of(event, settings=bool(over)):
            echo(line)

    for run in runs:
        if len(runs) > 1 and not as_json:
            echo(f"{run}:")
        evaluate_run(run, request, device=device_of(device), show=show)
    if as_json:
        print_json(events[0] if len(events) == 1 and not over else events)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=PATH)
@click.option("--html", type=PATH, metavar="F", help="Also write one self-contained page.")
@click.option(
    "--csv", type=PATH, metavar="F", help="Also write a CSV file: one row per spec, numbers in full."
)
@click.option("--csv-seeds", type=PATH, metavar="F", help="Also write a CSV file: one row per run.")
@click.option("--markdown", type=PATH, metavar="F", help="Also write the table in Markdown, with notes.")
@click.option(
    "--latex", type=PATH, metavar="F", help="Also write the table for a paper, for LaTeX's booktabs."
)
@click.option(
    "--sort",
    "key",
    metavar="KEY",
    help="Sort by a metric, val_loss, a field that differs, name or status. Default: the order of RUNS.",
)
@click.option(
    "--baseline",
    metavar="RUN|LABEL",
    help="Show differences from this run. Default: the first RUN, or the first finished run in it.",
)
@JSON
@ALLOW
def compare(
    runs: tuple[Path, ...], key: str | None, baseline: str | None, as_json: bool, **files: Path | None
) -> None:
    """Compare RUNS, or folders of runs, side by side.

    Shows where their specs differ, and all results. Runs that differ only in their seed form one group. The
    page also has the claims of the sweeps in these folders, with their verdicts.
    """
    from ..comparison.comparison import compare as compare_runs
    from ..comparison.files import OPTIONS, check_files, write_files
    from ..comparison.output import print_table, to_data
    from ..comparison.sorting import sort

    named = {option: files[option.removeprefix("--").replace("-", "_")] for option in OPTIONS}
    wanted = {option: file for option, file in named.items() if file is not None}
    check_files(wanted)
    comparison = compare_runs(runs, baseline)
    groups = sort(comparison, key)
    if files["html"] is None:
        write_files(comparison, groups, wanted)
    else:
        from ..claims.section import tables_of  # slow to import, as the page is

        write_files(comparison, groups, wanted, tables_of(runs))
    if as_json:
        print_json(to_data(comparison, groups))
    else:
        print_table(comparison, groups, sys.stdout)
