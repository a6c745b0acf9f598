"""Commands that exchange runs with other programs: export, import and track."""

from __future__ import annotations

from pathlib import Path

import click

from ..terminal.printing import echo
from .options import ALLOW, OUT, PATH, RUN, SET, WEIGHTS


@click.command()
@RUN
@click.argument("folder", type=PATH)
@click.option(
    "--to",
    "library",
    type=click.Choice(["diffusers"]),
    required=True,
    help="The library that will load FOLDER.",
)
@WEIGHTS
@SET
@ALLOW
def export(run: Path, folder: Path, library: str, weights: str | None, overrides: tuple[str, ...]) -> None:
    """Export RUN to FOLDER in another library's format. Loading it does not need ddpmx."""
    from ..exchange.export import export as export_run

    echo(export_run(run, folder, weights=weights, overrides=overrides))
    echo(f"next: {folder}/README.md shows how to load it")


@click.command(name="import")
@click.argument("folder", type=PATH)
@click.option("--name", metavar="NAME", help="The new run's name. Default: the folder's name.")
@OUT
def import_(folder: Path, name: str | None, out: Path) -> None:
    """Import FOLDER, an image pipeline that diffusers saved, as a run."""
    from ..exchange.importing import import_pipeline

    path = import_pipeline(folder, name=name, out=out)
    echo(path)
    echo(f"next: python -m ddpmx sample {path} -n 16 --out samples.png")


@click.command()
@RUN
@click.option(
    "--to",
    "tracker",
    required=True,
    metavar="NAME",
    help="The tracker: wandb, tensorboard, jsonl or one from a plugin.",
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
    """Send the events in RUN's metrics.jsonl to a tracker."""
    from ..runs.replay import replay

    echo(f"sent {replay(run, tracker, options)} events of {run} to {tracker}")
