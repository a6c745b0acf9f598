"""`report.html`: a run on one page, made from the run's folder alone."""

from __future__ import annotations

import math
import re
import shlex
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import SpecError
from ..files import read_text
from ..spec.evaluation import WeightsSpec
from ..spec.yaml_source import MAX_BYTES
from ..storage.atomic import write_atomically
from ..storage.folder import FINAL, RunFolder
from ..storage.history import History, plotted_indices
from ..storage.measurement import LatestMeasurements, Measurement
from ..storage.provenance import changed_at, data_changes
from ..storage.records import Environment, RunSpec, Status
from ..storage.row_log import COLUMNS, LAST_COLUMNS
from ..storage.settings_words import settings_in_words
from ..text import facts_in_words, floor_in_words, number
from ..theory.estimate import Estimate
from . import canvas, page, plots
from .ema_quality import ema_qualities
from .pictures import shown_pictures
from .quality_plots import QualitySection, section
from .sampler_quality import sampler_qualities
from .timestep_plots import CAPTIONS, timestep_figures
from .varied import Network

GRIDS = 12
"""Most sample grids of training in a report."""
GRID_CHARACTERS = 500_000
"""Most characters that these grids take, so that the page stays small enough to mail."""
MOST_OTHERS = 1_000
"""Most measurements with other settings in a report."""


def write_report(run: Path, status: Status | None = None) -> Path:
    """Write `<run>/report.html`, and its curves as SVG files to `<run>/plots/`; returns the page's path.

    `status` overrides status.json, for a status that is about to be written. Raises SpecError if the folder
    is not a run.
    """
    folder = RunFolder(run)
    status = status or folder.status()
    spec, environment, history = folder.spec_data(), folder.environment(), History()
    latest = LatestMeasurements(spec, environment)
    variance_error: float | None = None
    for event in folder.events():
        history.add(event)
        latest.add(event)
        if event["event"] == "samples" and event["path"] == FINAL:
            variance_error = event.get("variance_error")
    curves = canvas.write(_curves(spec, environment, history), folder.plots)
    html = page.render(
        "report.html.jinja",
        spec=spec,
        run_id=folder.path.resolve().name,
        status=status or {},
        environment=environment,
        row_count=history.row_count,
        results=_results(history, latest, changed_at(environment), shares=folder.shared is not None),
        changes=data_changes(environment),
        training=folder.shared and folder.shared.run,
        final=page.embed_png(folder.path / FINAL, "images sampled after training"),
        variance_error=variance_error,
        denoising=page.embed_png(folder.samples / "denoising.png", "images at steps of sampling, from noise"),
        grids=_grids(folder),
        curves=[page.figure(svg, CAPTIONS.get(name, "")) for name, svg in curves.items()],
        methods=list(_methods(folder.plots)),
        scores=_scores(latest),
        pictures=list(shown_pictures(folder.path, latest)),
        qualities=_qualities(run, spec, latest),
        others=_others(latest),
        other_count=len(latest.others),
        weights=_weights(spec),
        table=_table(history),
        facts=list(page.environment_facts(environment)),
        spec_yaml=read_text(folder.path / "spec.yaml", MAX_BYTES),
        commands=_commands(folder, spec, status, environment),
    )
    write_atomically(folder.path / "report.html", html)
    return folder.path / "report.html"


def _curves(spec: RunSpec, environment: Environment, history: History) -> dict[str, Figure]:
    """Figures of the loss, metrics measured during training, the loss by noise level, and the gradient."""
    figures = {}
    images, per_epoch = environment.get("data", {}).get("train"), 0.0
    columns = {key: history.column(key) for key in ("epoch", "step", "train_loss", "val_loss")}
    if history.epochs:
        per_epoch = columns["step"][0] / columns["epoch"][0]
    elif history.steps and images:
        per_epoch = math.ceil(images / spec["train"]["batch_size"])
    if per_epoch:
        indices = plotted_indices(columns["epoch"])
        figures["learning"] = plots.learning_figure(
            columns["step"][indices] / per_epoch,
            columns["train_loss"][indices],
            columns["val_loss"][indices],
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


def _qualities(run: Path, spec: RunSpec, latest: LatestMeasurements) -> QualitySection | None:
    """Quality by sampler and by EMA length; None if nothing was measured so."""
    networks = [Network(spec["seed"], run, "", [*latest.own.values(), *latest.others.values()])]
    averages = ema_qualities(networks)
    try:
        return section([("", [*sampler_qualities(networks), *averages])])
    except SpecError as error:
        return section([("", averages)], f"The samplers' evaluations are not known ({error.message}).")


def _results(
    history: History, latest: LatestMeasurements, changed_step: int, *, shares: bool
) -> list[tuple[str, str, str]]:
    """(name, value, note) of the main results; `shares`: whether the training is another run's.

    Losses up to step `changed_step` do not count, because they were measured on other data.
    """
    results, shared = [], ", shared" if shares else ""
    losses, epochs = history.column("val_loss"), history.column("epoch")
    counts = np.isfinite(losses) & (history.column("step") > changed_step)
    if counts.any():
        best = int(np.argmin(np.where(counts, losses, np.inf)))
        note = f"lowest, epoch {int(epochs[best])}"
        results.append(("Validation loss", number(float(losses[best])), note))
    for name, one in latest.own.items():
        estimate = Estimate.from_score(one.value, one.score or {})
        noise = "" if estimate.interval is None else f"[{', '.join(map(number, estimate.interval))}], "
        results.append((name, number(one.value), f"{noise}epoch {one.epoch}, {one.samples:,} samples"))
    if history.epochs:
        last, speeds = (
            {key: column[-1] for key, column in history.columns.items()},
            history.columns["images_per_second"],
        )
        results.append(("Training loss", number(last["train_loss"]), f"epoch {last['epoch']:.0f}"))
        results.append(
            ("Training time", page.duration(history.seconds or 0), f"{last['step']:,.0f} steps{shared}")
        )
        results.append(("Images per second", number(round(statistics.median(speeds))), "median over epochs"))
    return results


def _scores(latest: LatestMeasurements) -> page.Table:
    """Each metric's last value with the settings of the run's spec, with its details.

    Without rows for runs of early versions, which recorded none.
    """
    columns = (
        "metric",
        "value",
        "95 % interval",
        "better",
        "images",
        "value for real images",
        "beside it",
        "split",
        "extractor",
        "preprocessing",
        "seed",
        "epoch",
    )
    rows = []
    for name, one in latest.own.items():
        if one.score:
            details = one.score
            cells = [
                details["better"],
                details["n"],
                floor_in_words(details),
                facts_in_words(details.get("facts", {})),
                details["split"],
                details["extractor"],
                details["preprocessing"],
                details["seed"],
                one.epoch,
            ]
            cells_as_text = ["" if value is None else number(value) for value in cells]
            rows.append([name, number(one.value), _interval(one), *cells_as_text])
    return page.Table(columns, rows)


def _others(latest: LatestMeasurements) -> page.Table:
    """The last MOST_OTHERS measurements with other settings than those of the run's spec."""
    shown = list(latest.others.values())[-MOST_OTHERS:]
    columns = ("metric", "settings", "value", "95 % interval", "images", "step")
    words = settings_in_words([one.changes for one in shown])
    rows = [
        [one.metric, settings, number(one.value), _interval(one), number(one.samples), number(one.step)]
        for one, settings in zip(shown, words, strict=True)
    ]
    return page.Table(columns, rows)


def _interval(one: Measurement) -> str:
    interval = one.score and one.score["interval"]
    return " … ".join(map(number, interval)) if interval else "none"


def _weights(spec: RunSpec) -> str:
    """The weights that the final samples are made with."""
    weights = spec.get("weights") or WeightsSpec().model_dump(mode="json")
    if weights["ema_std"]:
        return f"an average of width {weights['ema_std']:g}"
    which = {"best": "of the lowest validation loss", "last": "of the last step"}
    where = which.get(str(weights["checkpoint"]), f"of step {weights['checkpoint']}")
    return f"the {'plain ' if weights['ema_std'] == 0 else ''}weights {where}"


def _grids(folder: RunFolder) -> list[page.EmbeddedImage]:
    """Sample grids of training: the first, the last, and as many in between as the page has room for."""
    images = [
        page.embed_png(path, f"epoch {passes:.7g}")
        for passes, path in page.evenly(list(folder.grids().items()), GRIDS)
    ]
    grids = [image for image in images if image is not None]
    room = GRID_CHARACTERS // max((len(image.uri) for image in grids), default=1)
    return page.evenly(grids, max(2, room))


def _methods(folder: Path) -> Iterator[page.Figure]:
    """The figures of the run's spec, from its folder; a file that is something else is replaced by a note."""
    for name, caption in plots.CAPTIONS.items():
        path = folder / f"{name}.svg"
        if path.exists():
            svg = page.inline_svg_of(path)
            note = f"plots/{path.name} is not shown, because it is not a figure plotted by ddpmx"
            yield page.Figure(note, "") if svg is None else page.Figure(svg, caption)


def _table(history: History) -> page.Table:
    """The last rows of the log."""
    columns = [*COLUMNS, *history.curves, *LAST_COLUMNS]
    values = [{**event, **event["metrics"]} for event in history.rows]
    rows = [["" if row.get(column) is None else number(row[column]) for column in columns] for row in values]
    return page.Table(columns, rows)


def _commands(
    folder: RunFolder, spec: RunSpec, status: Status | None, environment: Environment
) -> list[tuple[str, str]]:
    """(title, command) for the usual next steps."""
    run = folder.path
    program, here, file = "python -m ddpmx", shlex.quote(str(run)), shlex.quote(str(run / "spec.yaml"))
    resume = f"{program} run {file} --resume --run {here}"
    train = spec["train"]
    budget, length = ("steps", train["steps"]) if train["steps"] else ("epochs", train["epochs"])
    longer = f"{resume} -s train.{budget}={2 * (length or 100)}"
    training = (
        ("Resume training", resume)
        if status is None or status["status"] != "finished"
        else ("Train twice as long", longer)
    )
    commands = [
        *([training] if folder.shared is None else []),
        ("Sample images", f"{program} sample {here} -n 64 --out samples.png"),
        ("Evaluate again", f"{program} evaluate {here}"),
        ("Repeat the run", f"{program} run {file}"),
    ]
    return page.with_start(commands, environment)
