"""The commands that need no run: list, show, validate, check, schema and doctor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..data import Data

from ..errors import SpecError
from ..files import expanded
from ..terminal.printing import echo
from .options import ALLOW, JSON, PATH, POINT, SET, SPEC, load, print_json, say_error


@click.command(name="list")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@JSON
def list_(kind: str | None, name: str | None, as_json: bool) -> None:
    """List components: all, those of a KIND, or NAME's parameters."""
    from ..components.catalogue import data, listing

    if as_json:
        print_json(data(kind, name))
    else:
        echo(listing(kind, name))


@click.command()
@SPEC
@SET
@POINT
@click.option("--out", type=PATH, help="The page to write. Default: show-<name>.html.")
@ALLOW
def show(spec: Path, overrides: tuple[str, ...], point: str | None, out: Path | None) -> None:
    """Plot SPEC without training it.

    The page shows the schedule, the loss weights, the samplers' grids, and real images as noise is added.
    """
    from ..sweeps.points import load_sweep

    loaded = load(spec, overrides) if point is None else load_sweep(spec, overrides).point(point)
    from ..runs.show import show as show_spec

    for note in loaded.notes:
        echo(f"note: {note}", err=True)
    echo(show_spec(loaded, out or Path(f"show-{loaded.name}.html")))


@click.command()
@click.argument("specs", nargs=-1, required=True, type=PATH)
@SET
@ALLOW
def validate(specs: tuple[Path, ...], overrides: tuple[str, ...]) -> None:
    """Check SPECS and the data they name, without training. This runs the code of your plugins."""
    from ..runs.preflight import examine
    from ..sweeps.points import in_all_points, load_all
    from ..sweeps.trainings import trainings_of

    failed = []
    for path in specs:
        try:
            points = load_all(path, overrides)
            names = [spec.name if points[1:] else "" for spec in points]
            examined: dict[str, Data | SpecError] = {}
            results = in_all_points(names, points, partial(examine, examined=examined))
        except SpecError as error:
            failed.append(error)
            say_error(error)
        else:
            trainings = len(trainings_of(points))
            shared = f" with {trainings} {'training' if trainings == 1 else 'trainings'}"
            count = f", {len(points)} points{shared if trainings < len(points) else ''}"
            echo(f"{path}: valid" + (count if len(points) > 1 else ""))
            for line in dict.fromkeys(line for line, _ in results):
                echo(f"data: {line}")
            for spec, (_, notes) in zip(points, results, strict=True):
                for note in notes:
                    echo(f"note: {note}" if len(points) == 1 else f"note: {spec.name}: {note}")
    if failed:
        raise click.exceptions.Exit(2)


@click.command()
@click.argument("plugin")
@ALLOW
def check(plugin: str) -> None:
    """Run the conformance suite on the components in PLUGIN."""
    from ..components.registry import REGISTRIES
    from ..plugins.trust import find
    from ..testing import conformance

    before = {kind: set(registry.names()) for kind, registry in REGISTRIES.items()}
    candidate = find(str(expanded(plugin)) if plugin.endswith(".py") else plugin)
    if not candidate.may_run:
        hint = "if you trust it, add --allow-plugins"
        raise SpecError(
            f"{plugin} is code of the run {candidate.run} that you have not run on this machine", hint=hint
        )
    candidate.load()
    failed = checked = False
    for kind, registry in REGISTRIES.items():
        for name in sorted(set(registry.names()) - before[kind]):
            checked = True
            echo(f"{kind} {name}")
            for finding in conformance(registry.get(name)):
                failed |= bool(finding.problem)
                verdict = f"FAILED: {finding.problem}" if finding.problem else f"ok {finding.figure}".rstrip()
                echo(f"  {finding.check}: {verdict}")
    if not checked:
        hint = "register a component, for example with @ddpmx.SCHEDULES.register('my_schedule')"
        raise SpecError(f"the plugin {plugin} registers nothing", hint=hint)
    if failed:
        raise click.exceptions.Exit(2)


@click.command()
def schema() -> None:
    """Print the JSON Schema of specs, for completion in editors."""
    import json

    from ..plugins.loading import load_installed
    from ..spec.schema import json_schema

    load_installed()
    echo(json.dumps(json_schema(), indent=2))


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Print versions, devices and backends, and test the kernels."""
    from ..runs.doctor import as_data, report

    if as_json:
        print_json(as_data(report()))
        return
    for fact in report():
        echo(fact)
