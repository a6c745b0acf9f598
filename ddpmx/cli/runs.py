"""Commands that train networks and sample from them: run and sample."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ..errors import SpecError
from ..terminal.printing import echo
from .options import (
    ALLOW,
    ALLOW_CHANGED,
    ALLOW_DATA,
    DEVICE,
    IMAGES,
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
)


@click.command()
@SPEC
@SET
@OUT
@click.option(
    "--resume",
    is_flag=True,
    help="Resume this spec's newest unfinished run; if there is none, start a new one.",
)
@RESUMED
@POINT
@DEVICE
@ALLOW_DATA
@click.option(
    "--dry-run", is_flag=True, help="Try a step of everything and estimate the time; write nothing."
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
    """Train SPEC's network, then sample, evaluate and report."""
    resume = resume or resume_from is not None
    if allow_changed_data and (dry_run or not (resume or point)):
        raise SpecError(
            "only applies when a run is resumed",
            field="--allow-changed-data",
            hint="add --resume, --run RUN or --point NAME",
        )
    if point is None:
        loaded = load(spec, overrides)
    else:
        from ..sweeps.points import load_sweep
        from ..sweeps.trainings import sharing_note, trainings_of

        if resume_from is not None:
            raise SpecError(
                "cannot be combined with --point, which finds the run to resume by itself", field="--run"
            )
        grid = load_sweep(spec, overrides)
        loaded = grid.point(point)
        training = next(training for training in trainings_of(grid.points) if loaded in training)
        if dry_run and (note := sharing_note(training, loaded)):
            echo(f"note: {note}")
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
        from ..sweeps.point import run_point

        folder = run_point(
            grid, loaded, out=out, device=device_of(device), allow_changed_data=allow_changed_data
        )
    if os.environ.get("RANK", "0") == "0":
        if (folder / "samples" / "final.png").exists():  # with evaluate.grid: 0 there is no grid
            echo(f"samples: {folder}/samples/final.png")
        echo(f"report:  {folder}/report.html")
        echo(f"next:    python -m ddpmx sample {folder} -n 16 --out more.png")


@click.command()
@RUN
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, IMAGES),
    metavar="N",
    default=64,
    show_default=True,
    help="How many images to generate.",
)
@click.option("--sampler", metavar="NAME", help="The sampler. Default: the spec's `sampler`.")
@click.option(
    "--steps",
    type=STEPS,
    metavar="N",
    help="Sampling steps; some samplers run the network twice per step.",
)
@SET
@click.option("--seed", type=SEED, metavar="N", help="Seed of all noise. Default: the spec's evaluate.seed.")
@click.option(
    "--classes",
    metavar="C,…",
    help="Names or numbers of classes; each gets an equal number of images, in order. Default: all.",
)
@click.option(
    "--guidance",
    type=Number(0),
    metavar="W",
    help="Weight of classifier-free guidance; 1 adds none. Default: the spec's guidance.weight.",
)
@click.option(
    "--image", type=PATH, metavar="F", help="Start from this image, or from those in this folder in turn."
)
@click.option(
    "--strength",
    type=Number(0, 1, min_open=True),
    metavar="S",
    help="How far to change --image: above 0, at most 1 (entirely). Default: 0.5, or 1 with --mask.",
)
@click.option(
    "--mask", type=PATH, metavar="F", help="Inpaint --image: white areas are kept, black ones are filled in."
)
@click.option(
    "--resample",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="With --mask, run every 10 steps this many times to blend the filled areas in. Default: 10.",
)
@click.option(
    "--to-seed",
    type=SEED,
    metavar="N",
    help="Interpolate from the noise of --seed to that of this seed, along a great circle.",
)
@WEIGHTS
@click.option(
    "--out",
    type=PATH,
    metavar="F",
    help="F.png: a grid; F.npz: an array; F.gif: the denoising; no suffix: a folder of PNGs."
    " Default: a grid in RUN's samples/.",
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
    weights: str | None,
    out: Path | None,
    device: str | None,
) -> None:
    """Sample images from RUN, starting from noise or your images."""
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
