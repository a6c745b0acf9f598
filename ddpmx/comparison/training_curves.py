"""Losses and metrics over training, of all runs: over epochs, steps, images or training time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from ..pages.canvas import Floats, band, in_thousands, line, log_if_wide, panel, whole_numbers
from ..storage.history import Curve, History, plotted_indices
from ..theory.estimate import Estimate, mean_over_seeds
from .comparison import Comparison
from .groups import Group

X_AXES = {"epoch": "epochs", "step": "steps", "images": "images", "seconds": "time"}
"""What curves can be plotted over: the key of the `epoch` event, and a name. The first is the default."""
TIME_UNITS = {"hours": 3600.0, "minutes": 60.0, "seconds": 1.0}
"""Units of training time in seconds. A figure has the largest of which the longest run took more than 3."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with its caption; the curve of group i has the style `canvas.style(i)`."""

    figure: Figure
    """A panel in the shared style."""
    caption: str
    """Text for below the figure."""
    over: Mapping[str, Figure] = field(default_factory=dict)
    """The same curves over other x axes, by key of X_AXES; empty for a figure that is not over training."""


@dataclass(frozen=True)
class Plotted:
    """A curve over some x axis, as NaN where it is not known."""

    group: int
    """Index of the group, which decides the style."""
    x: Floats
    """Positions, in the axis's unit."""
    values: Floats
    """Losses or scores."""
    intervals: Sequence[tuple[float, float] | None] = ()
    """95 % intervals of the values; empty for losses."""


Curves = Callable[[str], list[Plotted]]
"""The curves of a figure over the x axis of that key."""


def training_figures(comparison: Comparison, units: str) -> Iterator[CaptionedFigure]:
    """The losses, and each metric measured during training; `units` is a remark on comparing losses."""
    keys = x_axes(comparison)
    for key, title, caption in (
        ("val_loss", "Validation loss", f"One curve per run.{units}"),
        ("train_loss", "Training loss", f"The mean over each epoch.{units}"),
    ):
        yield from _captioned(title, partial(_losses, comparison, key), keys, caption)
    caption = "Measured during training. Shaded: the 95 % interval, of the mean if a spec has several seeds."
    for measure in comparison.measures:
        if measure != "val_loss":
            yield from _captioned(measure, partial(_metric, comparison, measure), keys, caption)


def x_axes(comparison: Comparison) -> list[str]:
    """Keys of the x axes for which any run has positions, the default first."""
    histories = [run.history for group in comparison.groups for run in group.runs]
    known = [key for key in X_AXES if any(np.isfinite(_positions(one, key)).any() for one in histories)]
    return known or [next(iter(X_AXES))]


def _captioned(title: str, curves: Curves, keys: Sequence[str], caption: str) -> Iterator[CaptionedFigure]:
    """A figure over each x axis; none if no run has a value."""
    if any(len(curve.values) for curve in curves(keys[0])):
        first, *others = (_plot(title, curves(key), key) for key in keys)
        yield CaptionedFigure(first, caption, dict(zip(keys[1:], others, strict=True)))


def _plot(title: str, curves: Sequence[Plotted], key: str) -> Figure:
    label, unit = _label(curves, key)
    figure, axes = panel(title, label, "")
    are_scores = any(curve.intervals for curve in curves)
    for curve in curves:
        x = curve.x / unit
        if curve.intervals:
            band(axes, x, curve.intervals, curve.group)
        line(axes, (x, curve.values), curve.group, markers=len(x) <= (60 if are_scores else 1))
    log_if_wide(axes, np.concatenate([curve.values for curve in curves]), 10 if are_scores else 4)
    if key == "epoch":
        whole_numbers(axes)
    elif key != "seconds":
        in_thousands(axes)
    return figure


def _label(curves: Sequence[Plotted], key: str) -> tuple[str, float]:
    """The label of the x axis, and its unit in seconds if it is one of time, otherwise 1."""
    if key != "seconds":
        return key, 1.0
    longest = max((float(np.nanmax(curve.x, initial=0)) for curve in curves), default=0.0)
    name, unit = next((pair for pair in TIME_UNITS.items() if longest > 3 * pair[1]), ("seconds", 1.0))
    return f"training time in {name}", unit


def _positions(history: History, key: str) -> Floats:
    """The x position of each epoch's end; NaN where the run did not record it."""
    return np.cumsum(history.column(key)) if key == "seconds" else history.column(key)


def _positions_of(history: History, curve: Curve, key: str) -> Floats:
    """The x position of each measurement: within an epoch, in proportion to its steps."""
    if key in ("epoch", "step"):
        return np.asarray(curve.epochs if key == "epoch" else curve.steps, dtype=np.float64)
    ends, steps = _positions(history, key), np.asarray(curve.steps, dtype=np.float64)
    x: Floats = np.interp(steps, [0, *history.column("step")], [0, *ends], right=np.nan)
    return x


def _losses(comparison: Comparison, loss: str, key: str) -> list[Plotted]:
    curves = []
    for index, group in enumerate(comparison.groups):
        for run in group.runs:
            shown = plotted_indices(run.history.column("epoch"))
            positions = _positions(run.history, key)
            curves.append(Plotted(index, positions[shown], run.history.column(loss)[shown]))
    return curves


def _metric(comparison: Comparison, measure: str, key: str) -> list[Plotted]:
    return [Plotted(index, *_mean(group, measure, key)) for index, group in enumerate(comparison.groups)]


def _mean(group: Group, measure: str, key: str) -> tuple[Floats, Floats, list[tuple[float, float] | None]]:
    """x, values and intervals of the group's only run, or of the mean over its seeds.

    Has a point for each epoch that all of its runs measured, at the mean of their positions.
    """
    by_seed: dict[int, dict[float, tuple[float, Estimate]]] = {}
    for run in group.runs:
        curve = run.history.curves.get(measure)
        if curve is not None:
            x = _positions_of(run.history, curve, key)[plotted_indices(curve.epochs)]
            by_seed[run.seed] = {
                epoch: (position, Estimate(value, interval))
                for position, (epoch, value, interval) in zip(x, curve.points(), strict=True)
            }
    curves = list(by_seed.values())
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    estimates = [mean_over_seeds([curve[epoch][1] for curve in curves]) for epoch in shared]
    return (
        np.array([np.mean([curve[epoch][0] for curve in curves]) for epoch in shared], dtype=np.float64),
        np.array([estimate.value for estimate in estimates], dtype=np.float64),
        [estimate.interval for estimate in estimates],
    )
