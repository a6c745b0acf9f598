"""The figures of docs/study.md: our scores, with the study's settings and corrected, and its own figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_curves import averages_figure, signal_figure, weights_figure
from study_grids import write_grids
from study_series import AXIS, ORIGINAL, QUESTIONS, Question, Series, series_of

from ddpmx.pages.canvas import INK, STYLE
from ddpmx.theory.estimate import Estimate

LOOK = {key: "#222222" if value == INK else value for key, value in STYLE.items()} | {"savefig.dpi": 150}


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


def write_figures(scales: Sequence[Path], folder: Path) -> None:
    """Write the figures of published results, one folder for each scale, into a folder.

    One figure has all questions, with a row for each scale. Each question has one more, with a panel for each
    scale beside the source's figures.
    """
    found = {key: [series_of(results, question) for results in scales] for key, question in QUESTIONS.items()}
    names = [f" ({results.name})" if len(scales) > 1 else "" for results in scales]
    with rc_context(LOOK):
        for key, question in QUESTIONS.items():
            figure = Figure(figsize=(8.6 + 5.2 * (len(scales) - 1), 3.1))
            *ours, theirs = figure.subplots(1, len(scales) + 1, width_ratios=(*[1.8] * len(scales), 1))
            for axes, series, name in zip(ours, found[key], names, strict=True):
                draw(axes, question, series, averages=True)
                axes.set_title(question.title + name)
                axes.set_ylabel(AXIS)
            draw_published(theirs, question)
            figure.savefig(folder / f"study_{key}.png")
        figure = Figure(figsize=(10.5, 3.0 * len(scales)))
        rows = figure.subplots(len(scales), len(QUESTIONS), squeeze=False)
        for index, (row, name) in enumerate(zip(rows, names, strict=True)):
            for axes, (key, question) in zip(row, QUESTIONS.items(), strict=True):
                draw(axes, question, found[key][index], averages=False)
                axes.set_title(question.title + name)
            row[0].set_ylabel(AXIS)
        figure.savefig(folder / "study.png")
        weights_figure().savefig(folder / "study_weights.png")
        signal_figure(scales).savefig(folder / "study_signal.png")
        averages_figure(scales).savefig(folder / "study_averages.png")
        for results in scales:
            write_grids(results, folder / f"study_grids_{results.name}.png")
