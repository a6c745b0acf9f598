"""`report.html`: a run on one page, from the run's folder alone."""

from __future__ import annotations

import math
import re
import shlex
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import drawing, page, plots
from .estimate import Estimate
from .provenance import changed_at, told
from .run_folder import COLUMNS, LAST_COLUMNS, RunFolder, metric_names, write_atomically
from .timestep_plots import CAPTIONS, timestep_figures

GRIDS, GRID_CHARACTERS = 12, 500_000
"""Most epochs whose grids a report holds, and most characters of them: a page that can be mailed."""
ROWS = 200
"""Most rows in the table of epochs."""
Event = dict[str, Any]


def write_report(run: Path, status: Mapping[str, Any] | None = None) -> Path:
    """Write `<run>/report.html`, and the curves as SVG beside the run's other plots. Raises SpecError if the folder is no run.

    `status` is what status.json is about to say, where that is not what it says.
    """
    folder = RunFolder(run)
    status = folder.read_json("status.json") if status is None else status
    spec, environment, events = folder.spec_data(), folder.read_json("environment.json"), folder.events()
    epochs = [event for event in events if event["event"] == "epoch"]
    curves = drawing.write(_curves(spec, environment, events, epochs), folder.plots)
    html = page.render(
        "report.html.jinja",
        spec=spec,
        run_id=folder.path.resolve().name,
        status=status,
        environment=environment,
        epochs=epochs,
        results=_results(spec, events, epochs, changed_at(environment)),
        changes=told(environment),
        final=page.picture_of(folder.samples / "final.png", "images drawn from the best weights"),
        denoising=page.picture_of(folder.samples / "denoising.png", "images on their way from noise"),
        grids=_grids(folder.samples),
        curves=[{"svg": page.inline_svg(svg), "caption": CAPTIONS.get(name, "")} for name, svg in curves.items()],
        methods=list(_methods(folder.plots)),
        scores=_scores(events),
        table=_table(epochs),
        facts=list(page.facts({key: value for key, value in environment.items() if key != "command"})),
        spec_yaml=(folder.path / "spec.yaml").read_text(encoding="utf-8"),
        commands=_commands(run, spec, status, environment),
    )
    write_atomically(folder.path / "report.html", html)
    return folder.path / "report.html"


def _curves(spec: Mapping[str, Any], environment: Mapping[str, Any], events: list[Event], epochs: list[Event]) -> dict[str, Figure]:
    """The loss, each metric that was measured while training, how the loss lies over the timesteps, and the gradient."""
    figures = {}
    steps = [event for event in events if event["event"] == "step"]
    images = environment.get("data", {}).get("train")
    if epochs or (steps and images):
        per_epoch = epochs[0]["step"] / epochs[0]["epoch"] if epochs else math.ceil(images / spec["train"]["batch_size"])
        figures["learning"] = plots.learning_figure(
            [event["step"] / per_epoch for event in epochs],
            [event["train_loss"] for event in epochs],
            [event["val_loss"] for event in epochs],
            [event["step"] / per_epoch for event in steps],
            [event["loss"] for event in steps],
        )
    for name in metric_names(epochs):
        measured = [event for event in epochs if name in event["metrics"]]
        figures[f"metric_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"] = plots.metric_figure(
            name,
            [event["epoch"] for event in measured],
            [event["metrics"][name] for event in measured],
            [_estimate(event, name).interval for event in measured],
        )
    figures |= timestep_figures(events)
    norms = {event["step"]: event["grad_norm"] for event in steps if "grad_norm" in event}
    if norms:
        figures["gradient"] = plots.gradient_figure(list(norms), list(norms.values()), spec["train"]["grad_clip"])
    return figures


def _results(spec: Mapping[str, Any], events: list[Event], epochs: list[Event], since: int) -> list[tuple[str, str, str]]:
    """(what, value, note) of the numbers that one looks for first; losses up to the step `since` are of other data."""
    results = []
    finite = [event for event in epochs if math.isfinite(event["val_loss"]) and event["step"] > since]
    if finite:
        best = min(finite, key=lambda event: event["val_loss"])
        results.append(("Validation loss", page.number(best["val_loss"]), f"lowest, epoch {best['epoch']}"))
    for name, event in _latest(events).items():
        samples = event.get("samples", spec["evaluate"]["samples"])
        estimate = _estimate(event, name)
        noise = "" if estimate.interval is None else f"[{', '.join(map(page.number, estimate.interval))}], "
        results.append((name, page.number(estimate.value), f"{noise}epoch {event['epoch']}, {samples:,} samples"))
    if epochs:
        results.append(("Training loss", page.number(epochs[-1]["train_loss"]), f"epoch {epochs[-1]['epoch']}"))
        results.append(("Training time", page.duration(sum(event["seconds"] for event in epochs)), f"{epochs[-1]['step']:,} steps"))
        results.append(("Images/s", page.number(round(statistics.median(event["images_per_second"] for event in epochs))), "median epoch"))
    return results


def _latest(events: list[Event]) -> dict[str, Event]:
    """The last event that has each metric."""
    return {name: event for event in events for name in event.get("metrics", ())}


def _estimate(event: Event, name: str) -> Estimate:
    return Estimate.of_score(event["metrics"][name], event.get("scores", {}).get(name, {}))


def _scores(events: list[Event]) -> dict[str, Any]:
    """What is known of each metric's last value, as columns and rows of text; no rows for a run of before scores."""
    columns = (
        "metric",
        "value",
        "95 % interval",
        "better",
        "images",
        "real images get",
        "split",
        "extractor",
        "preprocessing",
        "seed",
        "epoch",
    )
    rows = []
    for name, event in _latest(events).items():
        score = event.get("scores", {}).get(name)
        if score:
            interval = "none" if score["interval"] is None else " … ".join(map(page.number, score["interval"]))
            floor = "" if score.get("floor") is None else f"{page.number(score['floor'])} (n {page.number(score['floor_n'])})"
            told = [
                score["better"],
                score["n"],
                floor,
                score["split"],
                score["extractor"],
                score["preprocessing"],
                score["seed"],
                event["epoch"],
            ]
            rows.append([name, page.number(score["value"]), interval, *("" if value is None else page.number(value) for value in told)])
    return {"columns": columns, "rows": rows}


def _grids(folder: Path) -> list[page.Picture]:
    """Epochs' grids: the first, the last, and as many between as the page has room for."""
    files = sorted(folder.glob("epoch-*.png"), key=lambda path: int(path.stem.split("-")[1]))
    read = [page.picture_of(path, f"epoch {int(path.stem.split('-')[1])}") for path in page.evenly(files, GRIDS)]
    grids = [picture for picture in read if picture is not None]
    room = GRID_CHARACTERS // max((len(picture.uri) for picture in grids), default=1)
    return page.evenly(grids, max(2, room))


def _methods(folder: Path) -> Iterator[dict[str, Any]]:
    """The figures that the run drew of its spec; where a file is something else, that."""
    for name, caption in plots.CAPTIONS.items():
        path = folder / f"{name}.svg"
        if path.exists():
            svg = page.inline_svg_of(path)
            left_out = f"plots/{path.name} is left out: it is not a figure as ddpmx draws them"
            yield {"svg": left_out, "caption": ""} if svg is None else {"svg": svg, "caption": caption}


def _table(epochs: list[Event]) -> dict[str, Any]:
    """The log of the last epochs, as columns and rows of text."""
    columns = [*COLUMNS, *metric_names(epochs), *LAST_COLUMNS]
    rows = [[page.number({**event, **event["metrics"]}.get(column, "")) for column in columns] for event in epochs[-ROWS:]]
    return {"columns": columns, "rows": rows}


def _commands(run: Path, spec: Mapping[str, Any], status: Mapping[str, Any], environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, command) for what one does next with a run."""
    program, here, file = "python -m ddpmx", shlex.quote(str(run)), shlex.quote(str(run / "spec.yaml"))
    resume = f"{program} run {file} --resume --run {here}"
    budget = "steps" if spec["train"]["steps"] else "epochs"
    longer = f"{resume} -s train.{budget}={2 * (spec['train'][budget] or 100)}"
    commands = [
        ("Go on with it", resume) if status.get("status") != "finished" else ("Train twice as long", longer),
        ("Draw images", f"{program} sample {here} -n 64 --out samples.png"),
        ("Measure it again", f"{program} evaluate {here}"),
        ("The same run again", f"{program} run {file}"),
    ]
    return [*commands, ("How it was started", environment["command"])] if environment.get("command") else commands
