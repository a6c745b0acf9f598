"""Commands about what runs have measured."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..errors import SpecError
from ..terminal.printing import echo
from .options import ALLOW, JSON, PATH, RUN, print_json


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=PATH)
@click.option("--html", type=PATH, metavar="F", help="Also one self-contained page.")
@click.option("--csv", "csv_file", type=PATH, metavar="F", help="Also a row for each spec, numbers in full.")
@click.option(
    "--sort",
    "key",
    metavar="KEY",
    help="A metric, val_loss, a field that differs, name or status. Default: as given.",
)
@click.option(
    "--baseline",
    metavar="RUN|LABEL",
    help="What differences are taken to. Default: the first RUN, or the first finished one in it.",
)
@JSON
@ALLOW
def compare(
    runs: tuple[Path, ...],
    html: Path | None,
    csv_file: Path | None,
    key: str | None,
    baseline: str | None,
    as_json: bool,
) -> None:
    """What differs between RUNS, or folders of runs, and the results side by side; seeds of one spec count as one."""
    from ..comparison.comparison import compare as compare_runs
    from ..comparison.output import print_table, to_csv, to_data
    from ..comparison.sorting import sort
    from ..outputs import check, write

    for option, file in (("--html", html), ("--csv", csv_file)):
        if file is not None:
            check(file, option)
    if html is not None and csv_file is not None and html.resolve() == csv_file.resolve():
        raise SpecError("names the same file as --html", field="--csv")
    comparison = compare_runs(runs, baseline)
    groups = sort(comparison, key)
    if html is not None:
        from ..comparison.page import write_page

        write_page(comparison, groups, html)
    if csv_file is not None:
        write(csv_file, to_csv(comparison, groups), "--csv")
    if as_json:
        print_json(to_data(comparison, groups))
    else:
        print_table(comparison, groups, sys.stdout)


@click.command()
@RUN
@click.option(
    "--to", "tracker", required=True, metavar="NAME", help="wandb, tensorboard, jsonl or a plugin's."
)
@click.option(
    "-s",
    "--set",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the tracker, such as project=x; repeatable.",
)
@ALLOW
def track(run: Path, tracker: str, options: tuple[str, ...]) -> None:
    """Replay RUN's metrics.jsonl into a tracker."""
    from ..runs.replay import replay

    echo(f"{replay(run, tracker, options)} events of {run} went to {tracker}")
