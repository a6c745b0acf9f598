"""Figures with the curves of several runs: losses, metrics with their intervals, effective weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import SpecError
from ..pages.canvas import Floats, behind, line, log_if_wide, panel, style
from ..pages.timestep_plots import floats, x_key
from ..spec.loading import load_run
from ..theory.effective import effective_weight
from .comparison import Comparison
from .groups import Group
from .results import Run
from .training_curves import CaptionedFigure, training_figures

Curve = tuple[Floats, Floats]
"""The x and y values of a curve."""


def figures(comparison: Comparison) -> Iterator[CaptionedFigure]:
    """All figures for which the runs have data, in their order on a page."""
    objectives = {str(standing.condition) for _, standing in comparison.standings("val_loss")}
    units = (
        "" if len(objectives) < 2 else " The objectives differ: compare the curves' shapes, not the heights."
    )
    yield from training_figures(comparison, units)
    weights, failed = _weights(comparison)
    yield from _by_timestep(comparison, weights, units)
    if weights:
        yield _effective(weights, failed)


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
    return _finished(figure, axes, np.concatenate([y for _, y in curves]), 10), axes


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
    return CaptionedFigure(_finished(figure, axes, values, 30), caption)


def _weight(run: Run) -> Curve:
    """The run's effective weight over log-SNR.

    Raises SpecError if its spec no longer loads or learns the weight.
    """
    spec = load_run(run.path)
    return effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )


def _finished(figure: Figure, axes: Axes, values: Floats, factor: float) -> Figure:
    log_if_wide(axes, values, factor)
    return figure
