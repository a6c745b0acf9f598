"""A metric over what its measurements differ in: its figure, with a caption, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..text import number
from ..theory.estimate import amount
from .canvas import bars, legend, line, log_if_wide, log_x, panel, style, to_svg
from .page import Figure as PageFigure
from .page import Table
from .page import figure as embedded
from .quality import Placed, Quality
from .varied import EMA, SAMPLER, Point


@dataclass(frozen=True)
class ShownQuality:
    """A metric over what its measurements differ in, as a page shows it."""

    title: str
    """The figure's title."""
    sentence: str
    """The result in words."""
    figure: PageFigure
    """The figure with its caption."""
    table: Table
    """The same in numbers."""


@dataclass(frozen=True)
class QualitySection:
    """The part of a page with such metrics."""

    heading: str
    """Names what the metrics differ in."""
    shown: list[ShownQuality]
    """The figures and tables."""
    problem: str = ""
    """Why figures are missing; empty if none are."""


def section(qualities: Sequence[tuple[str, Sequence[Quality]]], problem: str = "") -> QualitySection | None:
    """The part of a page with the metrics of some trainings, each with its label; None if there are none."""
    blocks = {quality.varied.block for _, found in qualities for quality in found}
    names = [name for block, name in ((SAMPLER, "sampler"), (EMA, "EMA length")) if block in blocks]
    figures = [one for label, found in qualities for one in shown(found, label)]
    if not figures and not problem:
        return None
    return QualitySection(f"Quality by {' and '.join(names or ['sampler'])}", figures, problem)


def shown(qualities: Sequence[Quality], label: str = "") -> list[ShownQuality]:
    """The figures and tables of a page, with the label of the training in their titles."""
    found = []
    for quality in qualities:
        title = f"{label}: {quality.varied.metric}" if label else quality.varied.metric
        figure = embedded(to_svg(plot(quality, title)), caption(quality))
        found.append(ShownQuality(title, quality.sentence, figure, table(quality)))
    return found


def plot(quality: Quality, title: str) -> Figure:
    """Values and intervals over a logarithmic axis; the points within noise of the best are filled."""
    figure, axes = panel(title, quality.over, "")
    for index, (name, points) in enumerate(quality.lines.items()):
        if points[0].x is None:
            _plot_apart(axes, points[0].point, index, name)
        else:
            _plot_line(axes, points, quality, index)
    log_x(axes, [one.x for one in quality.placed if one.x is not None])
    log_if_wide(axes, np.array([point.estimate.value for point in quality.varied.points]), 3)
    if len(quality.lines) > 1:
        legend(axes)
    return figure


def _plot_line(axes: Axes, points: list[Placed], quality: Quality, index: int) -> None:
    x = [one.x for one in points if one.x is not None]
    y = [one.point.estimate.value for one in points]
    line(axes, (x, y), index, points[0].line)
    bars(axes, x, [one.point.estimate.interval for one in points], index)
    colour = style(index)[0]
    for at, one in zip(x, points, strict=True):
        is_best, value = one.point is quality.best, one.point.estimate.value
        face = colour if is_best or one.point.is_near else "none"
        axes.plot(at, value, "o", markersize=4.5, color=colour, markerfacecolor=face)
        if is_best:
            axes.plot(at, value, "o", markersize=9, color=colour, markerfacecolor="none")


def _plot_apart(axes: Axes, point: Point, index: int, name: str) -> None:
    colour, dashes = style(index)
    axes.axhline(point.estimate.value, color=colour, linestyle=dashes, linewidth=1.2, label=name)
    if point.estimate.interval is not None:
        axes.axhspan(*point.estimate.interval, color=colour, alpha=0.1, linewidth=0)


def caption(quality: Quality) -> str:
    """What the figure shows, and what all its measurements share."""
    shared = quality.varied.shared
    facts = [f"n {number(shared.samples)}", f"evaluation seed {shared.seed}"]
    weight = shared.guidance.get("weight", 1)
    facts += [f"guidance {number(weight)}"] if weight != 1 else []
    mean = "" if len(quality.varied.seeds) == 1 else "The mean over "
    return (
        f"{mean or 'Of '}{quality.varied.networks}, all from the same starting noise ({', '.join(facts)}). "
        "The 95 % intervals cover other samples, not another training. "
        "Ring: the best. Filled: within noise of it."
    )


def table(quality: Quality) -> Table:
    """A row for each point."""
    columns = ["", quality.column, quality.varied.metric, "Δ to the best", "within noise"]
    rows = [
        [
            one.line,
            "" if one.x is None else number(one.x),
            amount(one.point.estimate),
            _difference(one.point),
            _near(one.point, quality),
        ]
        for one in quality.placed
    ]
    return Table(columns, rows)


def _difference(point: Point) -> str:
    if point.to_best is None:
        return ""
    return amount(point.to_best.estimate, seeds=2, sign=True).replace("-", "−")


def _near(point: Point, quality: Quality) -> str:
    if point is quality.best:
        return "best"
    return {True: "yes", False: "no", None: "unknown"}[point.is_near]
