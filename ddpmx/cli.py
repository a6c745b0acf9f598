"""The command line: arguments become one call each. The only place that knows exit codes.

Bodies import what they need, so that `--help` does not import torch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .errors import Interrupted, RunError, SpecError

if TYPE_CHECKING:
    import torch

    from .spec import Spec

SPEC = click.argument("spec", type=click.Path(path_type=Path))
RUN = click.argument("run", type=click.Path(path_type=Path))
SET = click.option("-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a field of the spec; repeatable.")
OUT = click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where the runs' folders go.")
POINT = click.option("--point", metavar="NAME", help="One point of SPEC's sweep; `run` goes on where it stopped.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, and nothing else there.")
DEVICE = click.option("--device", metavar="D", help="cpu, cuda, cuda:1, mps. Default: the fastest there is.")


def main() -> None:
    """Run the command line and exit: 0 done, 1 the run failed, 2 the input is wrong, 130 interrupted."""
    # Spinning threads that wait for one which another program keeps off its core made a step 30 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        code = cli.main(standalone_mode=False)
    except SpecError as error:
        code = _say(f"error: {error}", 2)
    except RunError as error:
        code = _say(f"failed: {error}", 1)
    except Interrupted as error:
        code = _say(str(error), 130)
    except (KeyboardInterrupt, click.Abort):
        code = _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        code = 2
    sys.exit(code)


def _say(text: str, code: int) -> int:
    click.echo(text, err=True)
    return code


def _print_json(data: Any) -> None:
    from .console import to_json

    click.echo(to_json(data))


def _load(path: Path, overrides: tuple[str, ...]) -> Spec:
    from .spec_file import load

    return load(path, overrides)


def _device(name: str | None) -> torch.device:
    from .experiment import choose_device

    return choose_device(name)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ddpmx", message="%(prog)s %(version)s")
def cli() -> None:
    """Experiments with diffusion models: a YAML spec becomes a trained, sampled, measured and reported run."""


@cli.command()
@SPEC
@SET
@OUT
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of this spec.")
@click.option("--run", "resume_from", type=click.Path(path_type=Path), help="Go on with this run.")
@POINT
@DEVICE
@click.option("--dry-run", is_flag=True, help="One step of everything and an estimate of the time; nothing is written.")
def run(
    spec: Path,
    overrides: tuple[str, ...],
    out: Path,
    resume: bool,
    resume_from: Path | None,
    point: str | None,
    device: str | None,
    dry_run: bool,
) -> None:
    """Train, sample, evaluate and report what SPEC says."""
    if point is None:
        loaded = _load(spec, overrides)
    else:
        from .sweep_points import load_sweep

        if resume_from is not None:
            raise SpecError("--point finds the run to go on with by itself", field="--run")
        grid = load_sweep(spec, overrides)
        loaded = grid.point(point)
    if dry_run:
        from .dry_run import dry_run as try_everything

        try_everything(loaded, _device(device), click.echo)
        return
    if point is None:
        from .run import run as run_spec

        folder = run_spec(loaded, out=out, resume=resume or resume_from is not None, resume_from=resume_from, device=_device(device))
    else:
        from .sweep import run_point

        folder = run_point(grid, loaded, out=out, device=_device(device))
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"samples: {folder}/samples/final.png")
        click.echo(f"report:  {folder}/report.html")
        click.echo(f"next:    python -m ddpmx sample {folder} -n 16 --out more.png")


@cli.command()
@RUN
@click.option("-n", "count", type=click.IntRange(1), default=64, show_default=True, help="How many images.")
@click.option("--sampler", metavar="NAME", help="Default: the spec's `sampler`.")
@click.option("--steps", type=click.IntRange(1), help="Noise levels on the way; some samplers run the network twice at each.")
@SET
@click.option("--seed", type=int, help="Default: the spec's evaluate.seed.")
@click.option("--classes", metavar="C,…", help="Names or numbers; images are spread over them in order. Default: all, evenly.")
@click.option(
    "--guidance", type=click.FloatRange(0), metavar="W", help="Towards the class; 1: none extra. Default: the spec's guidance.weight."
)
@click.option("--image", type=click.Path(path_type=Path), metavar="F", help="Change this picture, or those of this folder in turn.")
@click.option(
    "--strength", type=float, metavar="S", help="How much of the picture is drawn anew, above 0 to 1. Default: 0.5; with --mask 1."
)
@click.option("--mask", type=click.Path(path_type=Path), metavar="F", help="Complete the picture: white stays as it is, black is drawn.")
@click.option(
    "--resample", type=click.IntRange(1), metavar="N", help="Runs of each stretch of 10 steps, so that the parts fit. Default: 10."
)
@click.option("--to-seed", type=int, metavar="N", help="Images from the start of --seed to that of this one, along the arc between.")
@click.option("--weights", default="best", show_default=True, metavar="best|last|FILE")
@click.option("--out", type=click.Path(path_type=Path), help="F.png a grid, F.npz an array, F.gif the denoising, a folder one PNG each.")
@DEVICE
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
    from .draw import Editing, draw

    written = draw(
        run,
        count=count,
        sampler=sampler,
        steps=steps,
        overrides=overrides,
        seed=seed,
        classes=classes,
        guidance=guidance,
        weights=weights,
        out=out,
        device=_device(device),
        editing=Editing(image, strength, mask, resample, to_seed),
    )
    click.echo(written)


@cli.command()
@RUN
@click.option("-n", "samples", type=click.IntRange(2), help="Generated images. Default: the spec's evaluate.samples.")
@click.option("--metrics", help="Names with commas between. Default: the spec's.")
@SET
@DEVICE
@JSON
def evaluate(run: Path, samples: int | None, metrics: str | None, overrides: tuple[str, ...], device: str | None, as_json: bool) -> None:
    """Measure RUN and write the result into it."""
    from .evaluate import evaluate as evaluate_run

    names = tuple(name.strip() for name in metrics.split(",")) if metrics else ()
    event = evaluate_run(run, samples=samples, metrics=names, overrides=overrides, device=_device(device))
    if as_json:
        _print_json(event)
        return
    for name, value in event["metrics"].items():
        click.echo(f"{name:<12}{value:.6g}   ({event['samples']} samples, step {event['step']})")


@cli.command()
@RUN
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "library", type=click.Choice(["diffusers"]), required=True, help="The library that is to load the folder.")
@click.option("--weights", default="best", show_default=True, metavar="best|last|FILE")
@SET
def export(run: Path, folder: Path, library: str, weights: str, overrides: tuple[str, ...]) -> None:
    """Write RUN to FOLDER for another library, which needs no ddpmx to load it."""
    from .exchange.export import export as export_run

    click.echo(export_run(run, folder, weights=weights, overrides=overrides))
    click.echo(f"next: {folder}/README.md says how to load it")


@cli.command(name="import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Of the run. Default: the folder's.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where the runs' folders go.")
def import_(folder: Path, name: str | None, out: Path) -> None:
    """Make a run of FOLDER, a pipeline of images that diffusers saved."""
    from .exchange.importing import import_pipeline

    path = import_pipeline(folder, name=name, out=out)
    click.echo(path)
    click.echo(f"next: python -m ddpmx sample {path} -n 16 --out samples.png")


@cli.command()
@RUN
@click.option("--to", "tracker", required=True, metavar="NAME", help="wandb, tensorboard, jsonl or a plugin's.")
@click.option(
    "-s", "--set", "options", multiple=True, metavar="KEY=VALUE", help="A parameter of the tracker, such as project=x; repeatable."
)
def track(run: Path, tracker: str, options: tuple[str, ...]) -> None:
    """Replay RUN's metrics.jsonl into a tracker."""
    from .replay import replay

    click.echo(f"{replay(run, tracker, options)} events of {run} went to {tracker}")


@cli.command()
@SPEC
@SET
@OUT
@DEVICE
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Processes here, or tasks of Ray.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Points at one time. Default: one a GPU, or one a core.")
@click.option("--print", "only_print", is_flag=True, help="Print one command a point, for a job array, and run nothing.")
def sweep(spec: Path, overrides: tuple[str, ...], out: Path, device: str | None, engine: str, jobs: int | None, only_print: bool) -> None:
    """Run the points of SPEC's `sweep:` that are not finished."""
    from .sweep import Request, commands
    from .sweep import sweep as run_sweep

    request = Request(spec, overrides, out, device)
    if only_print:
        import shlex

        for command in commands(request):
            click.echo(shlex.join(command))
    else:
        run_sweep(request, engine=engine, jobs=jobs, say=click.echo)


@cli.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…", type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), metavar="F", help="Also one self-contained page.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), metavar="F", help="Also a row for each spec, numbers in full.")
@click.option("--sort", "key", metavar="KEY", help="A metric, val_loss, a field that differs, name or status. Default: as given.")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="RUN", help="What differences are taken to. Default: the first RUN.")
@JSON
def compare(
    runs: tuple[Path, ...], html: Path | None, csv_file: Path | None, key: str | None, baseline: Path | None, as_json: bool
) -> None:
    """What differs between RUNS, or folders of runs, and the results side by side; seeds of one spec count as one."""
    from .compare import print_table, to_csv, to_data
    from .comparison import compare as compare_runs
    from .comparison import sort
    from .run_folder import write_atomically

    comparison = compare_runs(runs, baseline)
    groups = sort(comparison, key)
    if html is not None:
        from .compare_page import write_page

        write_page(comparison, groups, html)
    if csv_file is not None:
        csv_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(csv_file, to_csv(comparison, groups))
    if as_json:
        _print_json(to_data(comparison, groups))
    else:
        print_table(comparison, groups, sys.stdout)


@cli.command(name="list")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@JSON
def list_(kind: str | None, name: str | None, as_json: bool) -> None:
    """Registered components, with their parameters by NAME."""
    from .catalogue import data, describe

    if as_json:
        _print_json(data(kind, name))
    else:
        click.echo(describe(kind, name))


@cli.command()
@SPEC
@SET
@POINT
@click.option("--out", type=click.Path(path_type=Path), help="Default: show-<name>.html")
def show(spec: Path, overrides: tuple[str, ...], point: str | None, out: Path | None) -> None:
    """Plot SPEC without training: schedule, weights, noising."""
    from .sweep_points import load_sweep

    loaded = _load(spec, overrides) if point is None else load_sweep(spec, overrides).point(point)
    from .show import show as show_spec

    click.echo(show_spec(loaded, out or Path(f"show-{loaded.name}.html")))


@cli.command()
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
@SET
def validate(specs: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check SPECS, which runs the code of their plugins."""
    from .experiment import check
    from .preflight import of_combination
    from .sweep_points import load_all

    failed = []
    for path in specs:
        try:
            points = load_all(path, overrides)
            notes = [(spec.name, note) for spec in points for note in of_combination(spec, check(spec))]
        except SpecError as error:
            failed.append(error)
            click.echo(f"error: {error}", err=True)
        else:
            click.echo(f"{path}: valid" + (f", {len(points)} points" if len(points) > 1 else ""))
            for name, note in notes:
                click.echo(f"note: {note}" if len(points) == 1 else f"note: {name}: {note}")
    if failed:
        raise click.exceptions.Exit(2)


@cli.command()
@click.argument("plugin")
def check(plugin: str) -> None:
    """Run the conformance suite on what PLUGIN registers."""
    from .plugins import load
    from .registry import REGISTRIES
    from .testing import conformance

    before = {kind: set(registry.names()) for kind, registry in REGISTRIES.items()}
    load(plugin)
    failed = found = False
    for kind, registry in REGISTRIES.items():
        for name in sorted(set(registry.names()) - before[kind]):
            found = True
            click.echo(f"{kind} {name}")
            for finding in conformance(registry.get(name)):
                failed |= bool(finding.problem)
                verdict = f"FAILED: {finding.problem}" if finding.problem else f"ok {finding.figure}".rstrip()
                click.echo(f"  {finding.check}: {verdict}")
    if not found:
        raise SpecError(f"the plugin {plugin} registers nothing")
    if failed:
        raise click.exceptions.Exit(2)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of specs, for editors."""
    import json

    from .plugins import load_installed
    from .spec import json_schema

    load_installed()
    click.echo(json.dumps(json_schema(), indent=2))


@cli.command()
@JSON
def doctor(as_json: bool) -> None:
    """Versions, devices, live backend; checks the hot math."""
    from .doctor import as_data, report

    if as_json:
        _print_json(as_data(report()))
        return
    for fact in report():
        click.echo(fact)
