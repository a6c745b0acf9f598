"""`report.html`: a run on one page, from the run's folder alone."""

from __future__ import annotations

import math
import re
import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..files import read_text
from ..spec.yaml_source import MAX_BYTES
from ..storage.atomic import write_atomically
from ..storage.folder import RunFolder
from ..storage.history import History, plotted_indices, score
from ..storage.provenance import changed_at, data_changes
from ..storage.records import Environment, RunSpec, Status
from ..storage.row_log import COLUMNS, LAST_COLUMNS
from ..text import number
from ..theory.estimate import Estimate
from . import canvas, page, plots
from .timestep_plots import CAPTIONS, timestep_figures

GRIDS, GRID_CHARACTERS = 12, 500_000
"""Most epochs whose grids a report holds, and most characters of them: a page that can be mailed."""


def write_report(run: Path, status: Status | None = None) -> Path:
    """Write `<run>/report.html`, and the curves as SVG beside the run's other plots. Raises SpecError if the folder is no run.

    `status` is what status.json is about to say, where that is not what it says.
    """
    folder = RunFolder(run)
    status = status or folder.status()
    spec, environment, history = (
        folder.spec_data(),
        folder.environment(),
        History.from_events(folder.events()),
    )
    curves = canvas.write(_curves(spec, environment, history), folder.plots)
    html = page.render(
        "report.html.jinja",
        spec=spec,
        run_id=folder.path.resolve().name,
        status=status or {},
        environment=environment,
        row_count=history.row_count,
        results=_results(spec, history, changed_at(environment)),
        changes=data_changes(environment),
        final=page.picture_of(folder.samples / "final.png", "images drawn from the best weights"),
        denoising=page.picture_of(folder.samples / "denoising.png", "images on their way from noise"),
        grids=_grids(folder),
        curves=[page.figure(svg, CAPTIONS.get(name, "")) for name, svg in curves.items()],
        methods=list(_methods(folder.plots)),
        scores=_scores(history),
        table=_table(history),
        facts=list(page.environment_facts(environment)),
        spec_yaml=read_text(folder.path / "spec.yaml", MAX_BYTES),
        commands=_commands(run, spec, status, environment),
    )
    write_atomically(folder.path / "report.html", html)
    return folder.path / "report.html"


def _curves(spec: RunSpec, environment: Environment, history: History) -> dict[str, Figure]:
    """The loss, each metric that was measured while training, how the loss lies over the timesteps, and the gradient."""
    figures = {}
    images, per_epoch = environment.get("data", {}).get("train"), 0.0
    columns = {key: history.column(key) for key in ("epoch", "step", "train_loss", "val_loss")}
    if history.epochs:
        per_epoch = columns["step"][0] / columns["epoch"][0]
    elif history.steps and images:
        per_epoch = math.ceil(images / spec["train"]["batch_size"])
    if per_epoch:
        shown = plotted_indices(columns["epoch"])
        figures["learning"] = plots.learning_figure(
            columns["step"][shown] / per_epoch,
            columns["train_loss"][shown],
            columns["val_loss"][shown],
            np.asarray(history.steps, dtype=np.float64) / per_epoch,
            history.losses,
        )
    for name, curve in history.curves.items():
        epochs, values, intervals = zip(*curve.points(), strict=True)
        figures[f"metric_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"] = plots.metric_figure(
            name, epochs, values, intervals
        )
    figures |= timestep_figures(history.all_per_t)
    if history.norms:
        figures["gradient"] = plots.gradient_figure(
            history.norm_steps, history.norms, spec["train"]["grad_clip"]
        )
    return figures


def _results(spec: RunSpec, history: History, since: int) -> list[tuple[str, str, str]]:
    """(what, value, note) of the numbers that one looks for first; losses up to the step `since` are of other data."""
    results = []
    losses, epochs = history.column("val_loss"), history.column("epoch")
    counted = np.isfinite(losses) & (history.column("step") > since)
    if counted.any():
        best = int(np.argmin(np.where(counted, losses, np.inf)))
        results.append(("Validation loss", number(float(losses[best])), f"lowest, epoch {int(epochs[best])}"))
    for name, event in history.latest.items():
        samples = event.get("samples", spec["evaluate"]["samples"])
        estimate = Estimate.from_score(event["metrics"][name], score(event, name) or {})
        noise = "" if estimate.interval is None else f"[{', '.join(map(number, estimate.interval))}], "
        results.append((name, number(estimate.value), f"{noise}epoch {event['epoch']}, {samples:,} samples"))
    if history.epochs:
        last, speeds = (
            {key: column[-1] for key, column in history.columns.items()},
            history.columns["images_per_second"],
        )
        results.append(("Training loss", number(last["train_loss"]), f"epoch {last['epoch']:.0f}"))
        results.append(("Training time", page.duration(history.seconds or 0), f"{last['step']:,.0f} steps"))
        results.append(("Images/s", number(round(statistics.median(speeds))), "median epoch"))
    return results


def _scores(history: History) -> page.Table:
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
    for name, event in history.latest.items():
        known = score(event, name)
        if known:
            interval = "none" if known["interval"] is None else " … ".join(map(number, known["interval"]))
            floor = (
                ""
                if known.get("floor") is None
                else f"{number(known['floor'])} (n {number(known.get('floor_n', 0))})"
            )
            told = [
                known["better"],
                known["n"],
                floor,
                known["split"],
                known["extractor"],
                known["preprocessing"],
                known["seed"],
                event["epoch"],
            ]
            rows.append(
                [
                    name,
                    number(known["value"]),
                    interval,
                    *("" if value is None else number(value) for value in told),
                ]
            )
    return page.Table(columns, rows)


def _grids(folder: RunFolder) -> list[page.Picture]:
    """The grids of training: the first, the last, and as many between as the page has room for."""
    read = [
        page.picture_of(path, f"epoch {passes:.7g}")
        for passes, path in page.evenly(list(folder.grids().items()), GRIDS)
    ]
    grids = [picture for picture in read if picture is not None]
    room = GRID_CHARACTERS // max((len(picture.uri) for picture in grids), default=1)
    return page.evenly(grids, max(2, room))


def _methods(folder: Path) -> Iterator[page.Figure]:
    """The figures that the run drew of its spec; where a file is something else, that."""
    for name, caption in plots.CAPTIONS.items():
        path = folder / f"{name}.svg"
        if path.exists():
            svg = page.inline_svg_of(path)
            left_out = f"plots/{path.name} is left out: it is not a figure as ddpmx draws them"
            yield page.Figure(left_out, "") if svg is None else page.Figure(svg, caption)


def _table(history: History) -> page.Table:
    """The last rows of the log, as columns and rows of text."""
    columns = [*COLUMNS, *history.curves, *LAST_COLUMNS]
    values = [{**event, **event["metrics"]} for event in history.rows]
    rows = [["" if row.get(column) is None else number(row[column]) for column in columns] for row in values]
    return page.Table(columns, rows)


def _commands(
    run: Path, spec: RunSpec, status: Status | None, environment: Environment
) -> list[tuple[str, str]]:
    """(what, command) for what one does next with a run."""
    program, here, file = "python -m ddpmx", shlex.quote(str(run)), shlex.quote(str(run / "spec.yaml"))
    resume = f"{program} run {file} --resume --run {here}"
    train = spec["train"]
    budget, length = ("steps", train["steps"]) if train["steps"] else ("epochs", train["epochs"])
    longer = f"{resume} -s train.{budget}={2 * (length or 100)}"
    commands = [
        ("Go on with it", resume)
        if status is None or status["status"] != "finished"
        else ("Train twice as long", longer),
        ("Draw images", f"{program} sample {here} -n 64 --out samples.png"),
        ("Measure it again", f"{program} evaluate {here}"),
        ("The same run again", f"{program} run {file}"),
    ]
    return page.with_start(commands, environment)
