"""The command that runs the points of a sweep."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import SpecError
from ..terminal.printing import echo
from ..text import shell_line
from .options import ALLOW, ALLOW_DATA, DEVICE, OUT, SET, SPEC


@click.command()
@SPEC
@SET
@OUT
@DEVICE
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Run the points as local processes, or as Ray tasks.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Trainings to run at the same time. Default: one per GPU, or one per core.",
)
@click.option(
    "--print",
    "only_print",
    is_flag=True,
    help="Print one command per training, for a job array, and run nothing.",
)
@click.option(
    "--until-settled",
    is_flag=True,
    help="Add seeds until each pair of specs differs or is equivalent within the margin.",
)
@click.option(
    "--measure",
    metavar="NAME",
    help="Settle by this metric, or by val_loss. Default: the spec's first metric.",
)
@click.option(
    "--margin",
    metavar="M",
    help="The largest difference of no interest: a percentage of a pair's mean, or a number. Default: 10%.",
)
@click.option("--max-seeds", type=int, metavar="N", help="The most seeds of a spec. Default: 16.")
@click.option(
    "--budget", metavar="T", help="Start no run after this time, such as 2h, 30m or 90s. Default: no limit."
)
@ALLOW
@ALLOW_DATA
def sweep(
    spec: Path,
    overrides: tuple[str, ...],
    out: Path,
    device: str | None,
    engine: str,
    jobs: int | None,
    only_print: bool,
    until_settled: bool,
    measure: str | None,
    margin: str | None,
    max_seeds: int | None,
    budget: str | None,
    allow_changed_data: bool,
) -> None:
    """Run every point of SPEC's `sweep:` that has not finished yet."""
    settling = {"--measure": measure, "--margin": margin, "--max-seeds": max_seeds, "--budget": budget}
    given = [option for option, value in settling.items() if value is not None]
    if given and not until_settled:
        raise SpecError("is an option of --until-settled", field=given[0])
    if until_settled and only_print:
        raise SpecError("which seeds are needed is known only from the runs", field="--until-settled --print")

    from ..sweeps.request import Request
    from ..sweeps.runner import commands
    from ..sweeps.runner import sweep as run_sweep

    request = Request(spec, overrides, out, device, allow_changed_data)
    if until_settled:
        from ..sweeps.settle import sweep_until_settled
        from ..sweeps.settle_options import settle_options

        options = settle_options(measure, margin, max_seeds, budget)
        sweep_until_settled(request, options, engine=engine, jobs=jobs, say=echo)
    elif only_print:
        for command in commands(request, lambda line: echo(line, err=True)):
            echo(shell_line(command))
    else:
        run_sweep(request, engine=engine, jobs=jobs, say=echo)
