"""The curves of several runs in one figure each: losses, metrics with their intervals, effective weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..drawing import Floats, band, line, log_if_wide, panel
from ..effective import effective_weight
from ..errors import SpecError
from ..estimate import Estimate, of_seeds
from ..spec_file import load_run
from .comparison import Comparison, Group
from .results import Event, Run


@dataclass(frozen=True)
class Drawn:
    """A figure and what to know of it. The curve of group i has `drawing.style(i)`."""

    figure: Figure
    caption: str


def figures(comparison: Comparison) -> Iterator[Drawn]:
    """Those that the runs have something for, in the order of a page."""
    objectives = {str(standing.condition) for _, standing in comparison.standings("val_loss")}
    units = "" if len(objectives) < 2 else " The objectives differ, so only the shapes compare, not the heights."
    yield from _losses(comparison, "val_loss", "Validation loss", f"A curve for each run.{units}")
    yield from _losses(comparison, "train_loss", "Training loss", f"Means over each epoch.{units}")
    for measure in comparison.measures:
        if measure != "val_loss":
            yield from _metric(comparison, measure)
    yield from _weights(comparison)


def _losses(comparison: Comparison, key: str, title: str, caption: str) -> Iterator[Drawn]:
    figure, axes = panel(title, "epoch", "")
    drawn: list[Floats] = []
    for index, group in enumerate(comparison.groups):
        for run in group.runs:
            epochs = run.epochs
            drawn.append(np.array([event[key] for event in epochs], dtype=np.float64))
            line(axes, [event["epoch"] for event in epochs], drawn[-1], index, "", markers=len(epochs) == 1)
    if any(len(values) for values in drawn):
        yield Drawn(_finished(figure, axes, np.concatenate(drawn), 4), caption)


def _metric(comparison: Comparison, measure: str) -> Iterator[Drawn]:
    figure, axes = panel(measure, "epoch", "")
    drawn = [np.zeros(0)]
    for index, group in enumerate(comparison.groups):
        curve = _over_epochs(group, measure)
        x, values = np.array(list(curve), dtype=np.float64), np.array([estimate.value for estimate in curve.values()])
        band(axes, x, [estimate.interval for estimate in curve.values()], index)
        line(axes, x, values, index, "", markers=len(x) <= 60)
        drawn.append(values)
    if any(len(values) for values in drawn):
        yield Drawn(
            _finished(figure, axes, np.concatenate(drawn), 10),
            "As measured while training; shaded: 95 %, over the seeds where there are several.",
        )


def _over_epochs(group: Group, measure: str) -> dict[int, Estimate]:
    """At each epoch that every run of the group measured: the mean over them, or the one run's own score."""
    by_seed: dict[int, dict[int, Event]] = {}
    for run in group.runs:
        own = {event["epoch"]: event for event in run.epochs if measure in event["metrics"]}
        if own:
            by_seed[run.seed] = own
    having = list(by_seed.values())
    shared = sorted(set.intersection(*map(set, having))) if having else []
    if len(having) > 1:
        return {epoch: of_seeds([own[epoch]["metrics"][measure] for own in having]) for epoch in shared}
    return {
        epoch: Estimate.of_score(having[0][epoch]["metrics"][measure], having[0][epoch].get("scores", {}).get(measure, {}))
        for epoch in shared
    }


def _weights(comparison: Comparison) -> Iterator[Drawn]:
    figure, axes = panel("Effective weight of the x₀ error", "log-SNR", "")
    drawn, failed = [], []
    for index, group in enumerate(comparison.groups):
        try:
            log_snr, weight = _weight(group.runs[0])
        except SpecError as error:
            failed.append(f"{group.label} has none ({error.message})")
            continue
        thin = np.unique(np.linspace(0, len(weight) - 1, min(len(weight), 250)).round().astype(int))
        line(axes, log_snr[thin], weight[thin], index, "")
        drawn.append(weight[thin])
    axes.invert_xaxis()
    if drawn:
        said = "; ".join(failed)
        caption = "What each objective weighs, per unit of log-SNR, more noise to the right: specs with one curve train for the same thing."
        yield Drawn(_finished(figure, axes, np.concatenate(drawn), 30, integers=False), f"{caption} {said}".strip())


def _weight(run: Run) -> tuple[Floats, Floats]:
    """Raises SpecError where the spec no longer loads or its weighting is learned."""
    spec = load_run(run.path)
    return effective_weight(spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time)


def _finished(figure: Figure, axes: Axes, values: Floats, factor: float, integers: bool = True) -> Figure:
    log_if_wide(axes, values, factor)
    if integers:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return figure
