"""The figures of docs/study.md: our scores, with the study's settings and corrected, and its own figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_measurements import CHOICES

from ddpmx.claims.found import KnownRuns
from ddpmx.claims.points import Point
from ddpmx.claims.recorded import NAME, read
from ddpmx.comparison.groups import Group, standings_of
from ddpmx.comparison.others import others_of
from ddpmx.pages.canvas import COLOURS, INK, STYLE
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import load_sweep
from ddpmx.theory.estimate import Estimate

HERE = Path(__file__).parent
MEASURE, AXIS = "fd_cnn", "Fréchet distance (fd_cnn)"
ORIGINAL, CORRECTED = COLOURS[1], COLOURS[0]
LOOK = {key: "#222222" if value == INK else value for key, value in STYLE.items()} | {"savefig.dpi": 150}


@dataclass(frozen=True)
class Question:
    """What one figure shows: a sweep with the study's settings, and its corrected twin."""

    title: str
    """The question."""
    sweeps: tuple[str, str]
    """Names of the two sweeps."""
    names: tuple[str, str]
    """What the legend calls them."""
    x_label: str
    """The x axis."""
    published: Mapping[str, tuple[float, float]]
    """FID of the source's networks by point: mean and deviation over ten draws of 100 images, one training
    each (github.com/GangaMegha/Diffusion-Models)."""


QUESTIONS = {
    "timesteps": Question(
        "Are longer chains better?",
        ("timesteps", "timesteps_rescaled"),
        ("the study's linear schedule", "β rescaled: each chain ends in noise"),
        "T, the number of noise levels",
        {
            "100": (323.6, 4.5),
            "200": (211.7, 8.1),
            "300": (144.2, 5.6),
            "400": (213.0, 6.9),
            "500": (148.3, 4.9),
        },
    ),
    "schedules": Question(
        "Does the schedule matter?",
        ("schedules", "schedules_equal"),
        ("the study's parameters", "each ends with the same signal"),
        "schedule, T = 300",
        {
            "linear": (144.2, 5.6),
            "quadratic": (178.5, 5.6),
            "cosine": (127.3, 6.2),
            "sigmoid": (127.8, 5.1),
        },
    ),
    "losses": Question(
        "Which loss is best?",
        ("losses", "losses_repeat"),
        ("the study's losses", "no infinite weight in vlb"),
        "loss, T = 500",
        {
            "l1": (125.9, 4.6),
            "l2": (117.7, 4.9),
            "huber": (148.3, 4.9),
            "vlb1": (102.9, 3.5),
            "vlb10": (257.9, 4.5),
            "vlb100": (434.6, 6.6),
        },
    ),
}


@dataclass(frozen=True)
class Series:
    """The scores of one sweep's points, with intervals, by the names at the ticks of the x axis."""

    name: str
    """What the legend calls it."""
    colour: str
    """A colour of matplotlib."""
    ticks: tuple[str, ...]
    """All points of the sweep, whether they have scores or not."""
    plain: Mapping[str, Estimate]
    """With plain weights."""
    averaged: Mapping[str, Estimate]
    """With the average whose length was chosen on validation images, where it was measured."""


def series_of(results: Path, question: Question) -> list[Series]:
    """The scores of both sweeps of a question, of points that have any."""
    found, runs = [], KnownRuns(results)
    for sweep, name, colour in zip(question.sweeps, question.names, (ORIGINAL, CORRECTED), strict=True):
        plain, averaged = dict[str, Estimate](), dict[str, Estimate]()
        points = runs.points(read(results / sweep / NAME))
        ticks = tuple(point.label.removeprefix("timesteps_") for point in points)
        for tick, point in zip(ticks, points, strict=True):
            estimates = _estimates(point, _width(results, sweep, point.label))
            plain |= {tick: estimates[0]} if estimates[0] else {}
            averaged |= {tick: estimates[1]} if estimates[1] else {}
        found.append(Series(name, colour, ticks, plain, averaged))
    return found


def _width(results: Path, sweep: str, label: str) -> float | None:
    """The length of the average that was chosen for a point; None until it is."""
    file = results / CHOICES
    chosen = json.loads(file.read_text())[sweep] if file.exists() else {}
    return float(chosen[label]["ema_std"]) if label in chosen else None


def _estimates(point: Point, width: float | None) -> tuple[Estimate | None, Estimate | None]:
    """The score of a point with plain weights, and with an average; None where there is none."""
    runs = tuple(run for run in point.own if run.is_finished)
    standings = standings_of(runs) if runs else {}
    if MEASURE not in standings:
        return None, None
    others = others_of(Group(point.label, runs, {}, {}, standings))
    averages = [one.estimate for one in others if one.measure == MEASURE and _is_average(one.changes, width)]
    return standings[MEASURE].estimate, averages[0] if averages else None


def _is_average(changes: Mapping[str, object], width: float | None) -> bool:
    """Whether a measurement differs from the spec's own only in that it is of this average."""
    return width is not None and dict(changes) == {"weights.ema_std": width}


def draw(axes: Axes, question: Question, series: Sequence[Series], averages: bool) -> None:
    """Our scores with their intervals: filled with plain weights, hollow with averaged ones."""
    ticks = list(dict.fromkeys(tick for one in series for tick in one.ticks))
    for index, one in enumerate(series):
        shift = (index - (len(series) - 1) / 2) * 0.3
        _points(axes, ticks, one.plain, shift - 0.06 * averages, (one.colour, one.colour, one.name))
        if averages and one.averaged:
            style = (one.colour, "white", f"{one.name}, averaged")
            _points(axes, ticks, one.averaged, shift + 0.06, style)
    axes.set_title(question.title)
    axes.legend(frameon=False, fontsize=7)
    _finish(axes, question, ticks)


def draw_published(axes: Axes, question: Question) -> None:
    """The source's own figures."""
    values, deviations = zip(*question.published.values(), strict=True)
    axes.errorbar(range(len(values)), values, deviations, fmt="o", color=ORIGINAL, markersize=4)
    axes.set_title("The study's own figures")
    axes.set_ylabel("FID of 100 images (Inception)")
    _finish(axes, question, list(question.published))


def _points(
    axes: Axes, ticks: Sequence[str], found: Mapping[str, Estimate], shift: float, style: tuple[str, str, str]
) -> None:
    """One row of points; `style` is (colour of edges, of faces, label)."""
    edge, face, label = style
    x = [ticks.index(tick) + shift for tick in found]
    ends = np.array([estimate.interval or (np.nan, np.nan) for estimate in found.values()]).reshape(-1, 2)
    axes.vlines(x, ends[:, 0], ends[:, 1], color=edge, linewidth=1.2, alpha=0.7)
    values = [estimate.value for estimate in found.values()]
    axes.plot(x, values, "o", color=edge, markerfacecolor=face, markersize=4, label=label)


def _finish(axes: Axes, question: Question, ticks: Sequence[str]) -> None:
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_xlim(-0.5, len(ticks) - 0.5)
    axes.set_xlabel(question.x_label)
    axes.set_ylim(bottom=0)
    axes.grid(visible=False, axis="x")


def weights_figure() -> Figure:
    """How the weighted losses divide their weight among the noise levels."""
    specs: dict[str, Spec] = {}
    for sweep in ("losses_repeat", "losses"):
        specs |= {label: points[0] for label, points in load_sweep(HERE / f"{sweep}.yaml").by_label.items()}
    figure = Figure(figsize=(5.2, 3.1))
    axes = figure.subplots()
    for label, colour, line in zip(
        ("l2", "vlb", "vlb1", "vlb10", "vlb100"),
        (*COLOURS, "#555555"),
        ("-", "-", "--", "-.", ":"),
        strict=True,
    ):
        spec, table = specs[label], specs[label].schedule.table()
        weight = spec.loss.weighting.weights(table, spec.prediction).numpy()
        name = f"{label}: {100 * weight[0] / weight.sum():.2g} % at index 0"
        axes.plot(table.log_snr.numpy(), weight / weight.sum(), line, color=colour, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.invert_xaxis()
    axes.set_title("Where the losses look (T = 500)")
    axes.set_xlabel("log-SNR; noise grows to the right")
    axes.set_ylabel("share of the weight of ε's error")
    axes.legend(frameon=False, fontsize=7.5)
    return figure


def write_figures(results: Path, folder: Path) -> None:
    """Write the figures of the published results into a folder: one of all questions, and one of each."""
    found = {key: series_of(results, question) for key, question in QUESTIONS.items()}
    with rc_context(LOOK):
        for key, question in QUESTIONS.items():
            figure = Figure(figsize=(8.6, 3.1))
            ours, theirs = figure.subplots(1, 2, width_ratios=(1.8, 1))
            draw(ours, question, found[key], averages=True)
            ours.set_ylabel(AXIS)
            draw_published(theirs, question)
            figure.savefig(folder / f"study_{key}.png")
        figure = Figure(figsize=(10.5, 3.0))
        for axes, (key, question) in zip(figure.subplots(1, 3), QUESTIONS.items(), strict=True):
            draw(axes, question, found[key], averages=False)
        figure.axes[0].set_ylabel(AXIS)
        figure.savefig(folder / "study.png")
        weights_figure().savefig(folder / "study_weights.png")
