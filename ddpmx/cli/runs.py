"""Commands that make or use the weights of a run."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import SpecError
from ..terminal.printing import echo
from ..text import shell_line
from .options import (
    ALLOW,
    ALLOW_CHANGED,
    ALLOW_DATA,
    DEVICE,
    IMAGES,
    JSON,
    OUT,
    PATH,
    POINT,
    RESUMED,
    RUN,
    SEED,
    SET,
    SPEC,
    STEPS,
    WEIGHTS,
    Number,
    device_of,
    load,
    print_json,
)


@click.command()
@SPEC
@SET
@OUT
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of this spec.")
@RESUMED
@POINT
@DEVICE
@ALLOW_DATA
@click.option(
    "--dry-run", is_flag=True, help="One step of everything and an estimate of the time; nothing is written."
)
@ALLOW
@ALLOW_CHANGED
def run(
    spec: Path,
    overrides: tuple[str, ...],
    out: Path,
    resume: bool,
    resume_from: Path | None,
    point: str | None,
    device: str | None,
    allow_changed_data: bool,
    dry_run: bool,
) -> None:
    """Train, sample, evaluate and report what SPEC says."""
    resume = resume or resume_from is not None
    if allow_changed_data and (dry_run or not (resume or point)):
        raise SpecError(
            "is for a run that is resumed",
            field="--allow-changed-data",
            hint="--resume, --run RUN or --point NAME",
        )
    if point is None:
        loaded = load(spec, overrides)
    else:
        from ..sweeps.points import load_sweep

        if resume_from is not None:
            raise SpecError("--point finds the run to go on with by itself", field="--run")
        grid = load_sweep(spec, overrides)
        loaded = grid.point(point)
    if dry_run:
        from ..runs.dry_run import dry_run as try_everything

        try_everything(loaded, device_of(device), echo)
        return
    if point is None:
        from ..runs.resume import Resume
        from ..runs.run import run as run_spec

        previous = Resume(resume_from, allow_changed_data) if resume else None
        folder = run_spec(loaded, out=out, device=device_of(device), resume=previous)
    else:
        from ..sweeps.runner import run_point

        folder = run_point(
            grid, loaded, out=out, device=device_of(device), allow_changed_data=allow_changed_data
        )
    if os.environ.get("RANK", "0") == "0":
        if (folder / "samples" / "final.png").exists():  # evaluate.grid: 0 draws none
            echo(f"samples: {folder}/samples/final.png")
        echo(f"report:  {folder}/report.html")
        echo(f"next:    python -m ddpmx sample {folder} -n 16 --out more.png")


@click.command()
@RUN
@click.option(
    "-n", "count", type=click.IntRange(1, IMAGES), default=64, show_default=True, help="How many images."
)
@click.option("--sampler", metavar="NAME", help="Default: the spec's `sampler`.")
@click.option(
    "--steps", type=STEPS, help="Noise levels on the way; some samplers run the network twice at each."
)
@SET
@click.option("--seed", type=SEED, help="Default: the spec's evaluate.seed.")
@click.option(
    "--classes", metavar="C,…", help="Names or numbers; images are spread over them in order. Default: all."
)
@click.option(
    "--guidance",
    type=Number(0),
    metavar="W",
    help="Towards the class; 1: none extra. Default: the spec's guidance.weight.",
)
@click.option("--image", type=PATH, metavar="F", help="Change this picture, or those of this folder in turn.")
@click.option(
    "--strength",
    type=Number(0, 1, min_open=True),
    metavar="S",
    help="How much of the picture is drawn anew, above 0 to 1. Default: 0.5; with --mask 1.",
)
@click.option(
    "--mask", type=PATH, metavar="F", help="Complete the picture: white stays as it is, black is drawn."
)
@click.option(
    "--resample",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Runs of each stretch of 10 steps, so that the parts fit. Default: 10.",
)
@click.option(
    "--to-seed",
    type=SEED,
    metavar="N",
    help="Images from the start of --seed to that of this one, along the arc between.",
)
@WEIGHTS
@click.option(
    "--out", type=PATH, help="F.png a grid, F.npz an array, F.gif the denoising, a folder one PNG each."
)
@DEVICE
@ALLOW
def sample(
    run: Path,
    count: int,
    sampler: str | None,
    steps: int | None,
    overrides: tuple[str, ...],
    seed: int | None,
    classes: str | None,
    guidance: float | None,
    image: Path | None,
    strength: float | None,
    mask: Path | None,
    resample: int | None,
    to_seed: int | None,
    weights: str,
    out: Path | None,
    device: str | None,
) -> None:
    """Draw images from RUN: new ones, or from pictures of yours."""
    from ..runs.edits import Editing
    from ..runs.sample import SampleRequest, sampler_changes
    from ..runs.sample import sample as sample_run

    written = sample_run(
        run,
        SampleRequest(count, seed, classes, guidance),
        Editing(image, strength, mask, resample, to_seed),
        overrides=sampler_changes(sampler, steps, overrides),
        weights=weights,
        out=out,
        device=device_of(device),
    )
    echo(written)


@click.command()
@RUN
@click.option(
    "-n",
    "samples",
    type=click.IntRange(2, IMAGES),
    help="Generated images. Default: the spec's evaluate.samples.",
)
@click.option("--metrics", help="Names with commas between. Default: the spec's.")
@SET
@DEVICE
@ALLOW
@ALLOW_DATA
@JSON
def evaluate(
    run: Path,
    samples: int | None,
    metrics: str | None,
    overrides: tuple[str, ...],
    device: str | None,
    allow_changed_data: bool,
    as_json: bool,
) -> None:
    """Measure RUN and write the result into it."""
    from ..runs.evaluate import evaluate as evaluate_run

    names = tuple(name.strip() for name in metrics.split(",")) if metrics else ()
    event = evaluate_run(
        run,
        samples=samples,
        metrics=names,
        overrides=overrides,
        device=device_of(device),
        allow_changed_data=allow_changed_data,
    )
    if as_json:
        print_json(event)
        return
    for name, value in event["metrics"].items():
        echo(f"{name:<12}{value:.6g}   ({event['samples']} samples, step {event['step']})")


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
    help="Processes here, or tasks of Ray.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Points at one time. Default: one a GPU, or one a core.",
)
@click.option(
    "--print", "only_print", is_flag=True, help="Print one command a point, for a job array, and run nothing."
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
    allow_changed_data: bool,
) -> None:
    """Run the points of SPEC's `sweep:` that are not finished."""
    from ..sweeps.runner import Request, commands
    from ..sweeps.runner import sweep as run_sweep

    request = Request(spec, overrides, out, device, allow_changed_data)
    if only_print:
        for command in commands(request):
            echo(shell_line(command))
    else:
        run_sweep(request, engine=engine, jobs=jobs, say=echo)


@click.command()
@RUN
@click.argument("folder", type=PATH)
@click.option(
    "--to",
    "library",
    type=click.Choice(["diffusers"]),
    required=True,
    help="The library that is to load the folder.",
)
@WEIGHTS
@SET
@ALLOW
def export(run: Path, folder: Path, library: str, weights: str, overrides: tuple[str, ...]) -> None:
    """Write RUN to FOLDER for another library, which needs no ddpmx to load it."""
    from ..exchange.export import export as export_run

    echo(export_run(run, folder, weights=weights, overrides=overrides))
    echo(f"next: {folder}/README.md says how to load it")


@click.command(name="import")
@click.argument("folder", type=PATH)
@click.option("--name", help="Of the run. Default: the folder's.")
@OUT
def import_(folder: Path, name: str | None, out: Path) -> None:
    """Make a run of FOLDER, a pipeline of images that diffusers saved."""
    from ..exchange.importing import import_pipeline

    path = import_pipeline(folder, name=name, out=out)
    echo(path)
    echo(f"next: python -m ddpmx sample {path} -n 16 --out samples.png")
