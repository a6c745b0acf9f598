"""Figures with the curves of several runs: losses, metrics with their intervals, effective weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import SpecError
from ..pages.canvas import Floats, band, behind, line, log_if_wide, panel, style, whole_numbers
from ..pages.timestep_plots import floats, x_key
from ..spec.loading import load_run
from ..storage.history import plotted_indices
from ..theory.effective import effective_weight
from ..theory.estimate import Estimate, mean_over_seeds
from .comparison import Comparison, Group
from .results import Run

Curve = tuple[Floats, Floats]
"""The x and y values of a curve."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with its caption; the curve of group i has the style `canvas.style(i)`."""

    figure: Figure
    """A panel in the shared style."""
    caption: str
    """Text for below the figure."""


def figures(comparison: Comparison) -> Iterator[CaptionedFigure]:
    """All figures for which the runs have data, in their order on a page."""
    objectives = {str(standing.condition) for _, standing in comparison.standings("val_loss")}
    units = (
        "" if len(objectives) < 2 else " The objectives differ: compare the curves' shapes, not the heights."
    )
    yield from _losses(comparison, "val_loss", "Validation loss", f"One curve per run.{units}")
    yield from _losses(comparison, "train_loss", "Training loss", f"The mean over each epoch.{units}")
    for measure in comparison.measures:
        if measure != "val_loss":
            yield from _metric(comparison, measure)
    weights, failed = _weights(comparison)
    yield from _by_timestep(comparison, weights, units)
    if weights:
        yield _effective(weights, failed)


def _losses(comparison: Comparison, key: str, title: str, caption: str) -> Iterator[CaptionedFigure]:
    figure, axes = panel(title, "epoch", "")
    values: list[Floats] = []
    for index, group in enumerate(comparison.groups):
        for run in group.runs:
            epochs = run.history.column("epoch")
            indices = plotted_indices(epochs)
            values.append(run.history.column(key)[indices])
            line(axes, (epochs[indices], values[-1]), index, markers=len(epochs) == 1)
    if any(map(len, values)):
        yield CaptionedFigure(_finished(figure, axes, np.concatenate(values), 4), caption)


def _metric(comparison: Comparison, measure: str) -> Iterator[CaptionedFigure]:
    figure, axes = panel(measure, "epoch", "")
    plotted = [np.zeros(0)]
    for index, group in enumerate(comparison.groups):
        curve = _over_epochs(group, measure)
        x, values = (
            np.array(list(curve), dtype=np.float64),
            np.array([estimate.value for estimate in curve.values()]),
        )
        band(axes, x, [estimate.interval for estimate in curve.values()], index)
        line(axes, (x, values), index, markers=len(x) <= 60)
        plotted.append(values)
    if any(map(len, plotted)):
        yield CaptionedFigure(
            _finished(figure, axes, np.concatenate(plotted), 10),
            "Measured during training. Shaded: the 95 % interval, of the mean if a spec has several seeds.",
        )


def _over_epochs(group: Group, measure: str) -> dict[float, Estimate]:
    """The group's mean over seeds, or its only run's score, at each epoch that all of its runs measured."""
    by_seed: dict[int, dict[float, Estimate]] = {}
    for run in group.runs:
        if measure in run.history.curves:
            points = run.history.curves[measure].points()
            by_seed[run.seed] = {passes: Estimate(value, interval) for passes, value, interval in points}
    curves = list(by_seed.values())
    shared = sorted(set.intersection(*map(set, curves))) if curves else []
    return {epoch: mean_over_seeds([curve[epoch] for curve in curves]) for epoch in shared}


def _by_timestep(
    comparison: Comparison, weights: Mapping[int, Curve], units: str
) -> Iterator[CaptionedFigure]:
    """The last evaluation of each group by noise level, as the mean over its runs."""
    loss = [_last_by_timestep(group, "loss") for group in comparison.groups]
    if any(len(x) for x, _ in loss):
        figure, axes = _over_log_snr("Validation loss by noise level", loss)
        if weights:
            under = behind(axes)
            for index, (log_snr, weight) in weights.items():
                under.plot(
                    log_snr, weight, color=style(index)[0], alpha=0.2, linewidth=5, solid_capstyle="butt"
                )
            log_if_wide(under, np.concatenate([weight for _, weight in weights.values()]))
        yield CaptionedFigure(
            figure,
            "At the last evaluation. Noise grows to the right. "
            f"Wide, pale lines: the effective weight.{units}",
        )
    bits = [_last_by_timestep(group, "bits") for group in comparison.groups]
    if any(np.isfinite(y).any() for _, y in bits):
        figure, axes = _over_log_snr("Bits by noise level", bits)
        yield CaptionedFigure(
            figure,
            "One step's term of the variational bound, in bits per dimension. For the same schedule, it is "
            "comparable whatever the training loss.",
        )
        yield from _relative(bits, comparison)


def _relative(bits: Sequence[Curve], comparison: Comparison) -> Iterator[CaptionedFigure]:
    """Ratios to the baseline, as they are hard to see in curves that fall by orders of magnitude."""
    levels, baseline = bits[comparison.groups.index(comparison.baseline)]
    ratios = [
        (x, y / baseline) if np.array_equal(x, levels) else (levels, np.full(len(levels), np.nan))
        for x, y in bits
    ]
    if len(levels) and sum(bool(np.isfinite(y).any()) for _, y in ratios) > 1:
        figure, _ = _over_log_snr("Bits relative to the baseline", ratios)
        meaning = (
            f"Below 1, the bound is better than that of {comparison.baseline.label} at this noise level."
        )
        yield CaptionedFigure(figure, f"{meaning} Specs with another schedule are not shown.")


def _over_log_snr(title: str, curves: Sequence[Curve]) -> tuple[Figure, Axes]:
    figure, axes = panel(title, "log-SNR", "")
    for index, curve in enumerate(curves):
        line(axes, curve, index)
    axes.invert_xaxis()
    return _finished(figure, axes, np.concatenate([y for _, y in curves]), 10, integers=False), axes


def _last_by_timestep(group: Group, key: str) -> Curve:
    """The last `per_t` event's values over log-SNR, as the mean over runs; empty without finite log-SNRs.

    Only runs that were evaluated at the same timesteps as the first one count.
    """
    last = [run.history.last_per_t for run in group.runs]
    events = [event for event in last if event is not None and x_key(event) == "log_snr"]
    comparable = [event for event in events if event["t"] == events[0]["t"]]
    if not comparable:
        return np.zeros(0), np.zeros(0)
    return floats(comparable[0], "log_snr"), np.mean([floats(event, key) for event in comparable], axis=0)


def _weights(comparison: Comparison) -> tuple[dict[int, Curve], list[str]]:
    """The effective weights by group index, and why other groups have none."""
    weights, failed = {}, []
    for index, group in enumerate(comparison.groups):
        try:
            log_snr, weight = _weight(group.runs[0])
        except SpecError as error:
            failed.append(f"{group.label} is not shown ({error.message})")
            continue
        thin = np.unique(np.linspace(0, len(weight) - 1, min(len(weight), 250)).round().astype(int))
        weights[index] = log_snr[thin], weight[thin]
    return weights, failed


def _effective(weights: Mapping[int, Curve], failed: Sequence[str]) -> CaptionedFigure:
    figure, axes = panel("Effective weight of the x₀ error", "log-SNR", "")
    for index, curve in weights.items():
        line(axes, curve, index)
    axes.invert_xaxis()
    caption = "Each objective as a weight on the x₀ error, per unit of log-SNR; noise grows to the right. "
    caption += "Specs with the same curve minimise the same objective."
    if failed:
        caption += f" {'; '.join(failed)}."
    values = np.concatenate([weight for _, weight in weights.values()])
    return CaptionedFigure(_finished(figure, axes, values, 30, integers=False), caption)


def _weight(run: Run) -> Curve:
    """The run's effective weight over log-SNR.

    Raises SpecError if its spec no longer loads or learns the weight.
    """
    spec = load_run(run.path)
    return effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )


def _finished(figure: Figure, axes: Axes, values: Floats, factor: float, integers: bool = True) -> Figure:
    log_if_wide(axes, values, factor)
    if integers:
        whole_numbers(axes)
    return figure
