"""The curves of several runs in one figure each: losses, metrics with their intervals, effective weights."""

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
"""x and y."""


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure and what to know of it. The curve of group i has `canvas.style(i)`."""

    figure: Figure
    caption: str


def figures(comparison: Comparison) -> Iterator[CaptionedFigure]:
    """Those that the runs have something for, in the order of a page."""
    objectives = {str(standing.condition) for _, standing in comparison.standings("val_loss")}
    units = (
        "" if len(objectives) < 2 else " The objectives differ, so only the shapes compare, not the heights."
    )
    yield from _losses(comparison, "val_loss", "Validation loss", f"A curve for each run.{units}")
    yield from _losses(comparison, "train_loss", "Training loss", f"Means over each epoch.{units}")
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
            shown = plotted_indices(epochs)
            values.append(run.history.column(key)[shown])
            line(axes, (epochs[shown], values[-1]), index, markers=len(epochs) == 1)
    if any(map(len, values)):
        yield CaptionedFigure(_finished(figure, axes, np.concatenate(values), 4), caption)


def _metric(comparison: Comparison, measure: str) -> Iterator[CaptionedFigure]:
    figure, axes = panel(measure, "epoch", "")
    found = [np.zeros(0)]
    for index, group in enumerate(comparison.groups):
        curve = _over_epochs(group, measure)
        x, values = (
            np.array(list(curve), dtype=np.float64),
            np.array([estimate.value for estimate in curve.values()]),
        )
        band(axes, x, [estimate.interval for estimate in curve.values()], index)
        line(axes, (x, values), index, markers=len(x) <= 60)
        found.append(values)
    if any(map(len, found)):
        yield CaptionedFigure(
            _finished(figure, axes, np.concatenate(found), 10),
            "As measured while training; shaded: 95 %, over the seeds where there are several.",
        )


def _over_epochs(group: Group, measure: str) -> dict[float, Estimate]:
    """At each epoch, or part of one, that every run of the group measured: the mean over them, or the one run's own score."""
    by_seed: dict[int, dict[float, Estimate]] = {}
    for run in group.runs:
        if measure in run.history.curves:
            points = run.history.curves[measure].points()
            by_seed[run.seed] = {passes: Estimate(value, interval) for passes, value, interval in points}
    having = list(by_seed.values())
    shared = sorted(set.intersection(*map(set, having))) if having else []
    return {epoch: mean_over_seeds([own[epoch] for own in having]) for epoch in shared}


def _by_timestep(
    comparison: Comparison, weights: Mapping[int, Curve], units: str
) -> Iterator[CaptionedFigure]:
    """The last evaluation of each group over the noise levels, as the mean over its runs."""
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
            f"At the last evaluation, more noise to the right. Broad and pale: the effective weight.{units}",
        )
    bits = [_last_by_timestep(group, "bits") for group in comparison.groups]
    if any(np.isfinite(y).any() for _, y in bits):
        figure, axes = _over_log_snr("Bits by noise level", bits)
        yield CaptionedFigure(
            figure,
            "The variational bound's term of one step, in bits a dimension: of one schedule comparable whatever the loss.",
        )
        yield from _relative(bits, comparison)


def _relative(bits: Sequence[Curve], comparison: Comparison) -> Iterator[CaptionedFigure]:
    """What is hard to see in curves that fall by orders of magnitude: their ratios."""
    levels, home = bits[comparison.groups.index(comparison.baseline)]
    ratios = [
        (x, y / home) if np.array_equal(x, levels) else (levels, np.full(len(levels), np.nan))
        for x, y in bits
    ]
    if len(levels) and sum(bool(np.isfinite(y).any()) for _, y in ratios) > 1:
        figure, _ = _over_log_snr("Bits, relative to the baseline's", ratios)
        worth = f"Below 1: a better bound at that noise level than that of {comparison.baseline.label}."
        yield CaptionedFigure(figure, f"{worth} Specs with another schedule are left out.")


def _over_log_snr(title: str, curves: Sequence[Curve]) -> tuple[Figure, Axes]:
    figure, axes = panel(title, "log-SNR", "")
    for index, curve in enumerate(curves):
        line(axes, curve, index)
    axes.invert_xaxis()
    return _finished(figure, axes, np.concatenate([y for _, y in curves]), 10, integers=False), axes


def _last_by_timestep(group: Group, key: str) -> Curve:
    """Over the log-SNR; of the runs that were evaluated at the same levels as the first, and no curve where there is no level."""
    last = [run.history.last_per_t for run in group.runs]
    having = [event for event in last if event is not None and x_key(event) == "log_snr"]
    alike = [event for event in having if event["t"] == having[0]["t"]]
    if not alike:
        return np.zeros(0), np.zeros(0)
    return floats(alike[0], "log_snr"), np.mean([floats(event, key) for event in alike], axis=0)


def _weights(comparison: Comparison) -> tuple[dict[int, Curve], list[str]]:
    """Each group's effective weight, by its index, and why others have none."""
    found, failed = {}, []
    for index, group in enumerate(comparison.groups):
        try:
            log_snr, weight = _weight(group.runs[0])
        except SpecError as error:
            failed.append(f"{group.label} has none ({error.message})")
            continue
        thin = np.unique(np.linspace(0, len(weight) - 1, min(len(weight), 250)).round().astype(int))
        found[index] = log_snr[thin], weight[thin]
    return found, failed


def _effective(weights: Mapping[int, Curve], failed: Sequence[str]) -> CaptionedFigure:
    figure, axes = panel("Effective weight of the x₀ error", "log-SNR", "")
    for index, curve in weights.items():
        line(axes, curve, index)
    axes.invert_xaxis()
    caption = "What each objective weighs, per unit of log-SNR, more noise to the right: specs with one curve train for the same thing."
    values = np.concatenate([weight for _, weight in weights.values()])
    return CaptionedFigure(
        _finished(figure, axes, values, 30, integers=False), f"{caption} {'; '.join(failed)}".strip()
    )


def _weight(run: Run) -> Curve:
    """Raises SpecError where the spec no longer loads or its weighting is learned."""
    spec = load_run(run.path)
    return effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )


def _finished(figure: Figure, axes: Axes, values: Floats, factor: float, integers: bool = True) -> Figure:
    log_if_wide(axes, values, factor)
    if integers:
        whole_numbers(axes)
    return figure
