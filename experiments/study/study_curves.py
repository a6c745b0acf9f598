"""Figures of docs/study.md: scores by terminal signal and by length of the average, and losses' weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from study_measurements import DECIDES
from study_series import AXIS, CORRECTED, HERE, MEASURE, ORIGINAL, QUESTIONS, estimates_of, tick_of

from ddpmx.claims.computed import computed
from ddpmx.claims.found import KnownRuns
from ddpmx.claims.points import Point
from ddpmx.claims.recorded import NAME, read
from ddpmx.comparison.results import Run
from ddpmx.pages.canvas import COLOURS, Floats
from ddpmx.spec.schema import Spec
from ddpmx.sweeps.points import load_sweep
from ddpmx.theory.effective import effective_weight

ENDS = ("timesteps", "schedules")
"""The questions whose points end with different signals."""
LOSSES = ("l1", "l2", "vlb", "vlb1", "vlb10", "vlb100")
"""The losses in the figure of weights; huber weights small errors as l2."""
LINES = ("-", "-", "-", "--", "-.", ":")


def signal_figure(scales: Sequence[Path]) -> Figure:
    """The scores of all chains and schedules over the signal √ᾱ_T that they end with; a panel for a scale."""
    figure = Figure(figsize=(5.2 * len(scales), 3.4))
    for axes, results in zip(figure.subplots(1, len(scales), squeeze=False)[0], scales, strict=True):
        runs = KnownRuns(results)
        for key, marker in zip(ENDS, ("o", "s"), strict=True):
            question = QUESTIONS[key]
            names = ("as in the study", "corrected")
            for sweep, name, colour in zip(question.sweeps, names, (ORIGINAL, CORRECTED), strict=True):
                points = runs.points(read(results / sweep / NAME))
                _by_signal(axes, points, (marker, colour, f"{key}, {name}"))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(_plain_number)
        axes.margins(x=0.12)
        axes.set_ylim(bottom=0)
        axes.set_title(_title("Does the signal at the last level matter?", results, scales))
        axes.set_xlabel("√ᾱ_T, the share of the image's amplitude at the last level")
        axes.set_ylabel(AXIS)
        axes.legend(frameon=False, fontsize=7)
    return figure


def _by_signal(axes: Axes, points: Sequence[Point], style: tuple[str, str, str]) -> None:
    """One sweep's scores; those with the study's settings are named. `style` is (marker, colour, label)."""
    marker, colour, name = style
    shift, side = ((4, 3), "left") if marker == "o" else ((-4, 3), "right")
    label: str | None = name
    for point in points:
        estimate, _ = estimates_of(point, None)
        if estimate is None:
            continue
        x = computed("terminal_signal", point.spec)
        low, high = estimate.interval or (np.nan, np.nan)
        axes.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.7)
        axes.plot([x], [estimate.value], marker, color=colour, markersize=4, label=label)
        label = None
        if colour == ORIGINAL:
            at, text = (x, estimate.value), tick_of(point.label)
            axes.annotate(text, at, shift, textcoords="offset points", ha=side, fontsize=6.5)


def averages_figure(scales: Sequence[Path]) -> Figure:
    """How much an average of the weights gains, by its length: a line for each point."""
    figure = Figure(figsize=(5.2 * len(scales), 3.1))
    for axes, results in zip(figure.subplots(1, len(scales), squeeze=False)[0], scales, strict=True):
        runs, widths = KnownRuns(results), set[float]()
        for question, colour in zip(QUESTIONS.values(), COLOURS, strict=False):
            label: str | None = question.sweeps[0]
            for sweep in question.sweeps:
                for point in runs.points(read(results / sweep / NAME)):
                    if ratios := gains(point.own):
                        widths |= set(ratios)
                        style = {"color": colour, "linewidth": 0.9, "alpha": 0.75, "markersize": 2.5}
                        axes.plot([*ratios], [*ratios.values()], "o-", label=label, **style)
                        label = None
        axes.axhline(1, color="#555555", linewidth=0.8)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_plain_number)
        axes.yaxis.set_minor_formatter(_plain_number)
        axes.set_xticks(sorted(widths), [f"{width:g}" if width else "plain" for width in sorted(widths)])
        axes.set_title(_title("Do averaged weights help?", results, scales))
        axes.set_xlabel("relative width of the average, as a share of the training")
        axes.set_ylabel(f"{MEASURE} on validation images\ncompared with plain weights")
        if widths:
            axes.legend(frameon=False, fontsize=7)
    return figure


def gains(runs: Sequence[Run]) -> dict[float, float]:
    """The mean score on validation images over a point's seeds by width, divided by that of plain weights.

    Only of seeds that were measured at all widths.
    """
    seeds = [found for run in runs if run.is_finished and (found := dict(_on_validation(run)))]
    widths = sorted(set[float]().union(*seeds))
    whole = [found for found in seeds if len(found) == len(widths)]
    if not whole or 0.0 not in widths:
        return {}
    means = {width: fmean(found[width] for found in whole) for width in widths}
    return {width: mean / means[0.0] for width, mean in means.items()}


def _on_validation(run: Run) -> Iterator[tuple[float, float]]:
    """Width and score of the measurements from which the length is chosen."""
    for one in run.others:
        std = one.weights.get("ema_std")
        if isinstance(std, int | float) and DECIDES.items() <= one.block.items():
            yield float(std), one.value


def weights_figure() -> Figure:
    """How losses divide their weight among noise levels: of ε's error by index, of x_0's by log-SNR."""
    specs: dict[str, Spec] = {}
    for sweep in ("losses_repeat", "losses"):
        specs |= {label: points[0] for label, points in load_sweep(HERE / f"{sweep}.yaml").by_label.items()}
    figure = Figure(figsize=(9.6, 3.3))
    shares, effective = figure.subplots(1, 2)
    colours = dict(
        zip(LOSSES, (COLOURS[3], COLOURS[0], COLOURS[1], COLOURS[2], "#8a6d00", "#555555"), strict=True)
    )
    for label, line in zip(LOSSES, LINES, strict=True):
        spec, table = specs[label], specs[label].schedule.table()
        weight = spec.loss.weighting.weights(table, spec.prediction).numpy()
        share = weight / weight.sum()
        if label != "l1":  # its weights are those of l2
            name = f"{label}: {100 * share[0]:.2g} % at index 0"
            shares.plot(table.log_snr.numpy(), share, line, color=colours[label], label=name)
        x, y = normalised(spec)
        effective.plot(x, y, line, color=colours[label], label=label)
    shares.set_title("Where the losses look (T = 500)")
    shares.set_ylabel("share of the weight of ε's error")
    effective.set_title("Their effective weights")
    effective.set_ylabel("weight of x₀'s error per unit of log-SNR")
    for axes in (shares, effective):
        axes.set_yscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("log-SNR; noise grows to the right")
        axes.legend(frameon=False, fontsize=7.5)
    shares.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    effective.yaxis.set_major_formatter(_plain_number)
    return figure


def normalised(spec: Spec) -> tuple[Floats, Floats]:
    """The effective weight of a spec's loss over log-SNR, with an integral of 1."""
    x, y = effective_weight(
        spec.schedule.table(), spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time
    )
    return x, y / abs(float(np.trapezoid(y, x)))


def _title(text: str, results: Path, scales: Sequence[Path]) -> str:
    return text if len(scales) == 1 else f"{text} ({results.name})"


def _plain_number(value: float, _: int) -> str:
    return f"{value:g}"
