"""Figures from plain arrays and tables, and the one way they become SVG: same input, same bytes, dark or light page.

Each figure is one small panel, so that a page can lay them side by side or under each other and the text stays readable.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from .errors import SpecError
from .predictions import Prediction, as_prediction
from .registry import PREDICTIONS
from .rows import Plan
from .schedules import Table
from .spec import Spec
from .times import Time
from .weightings import Weighting

Floats = NDArray[np.float64]

INK = "#010203"  # stands for the page's own text colour; `to_svg` replaces it
# Okabe and Ito's colour-blind-safe hues, in shades that read on white and on near-black
COLOURS = ("#1f86c9", "#d55e00", "#0a9c74", "#c06ba4")
DASHES: tuple[str | tuple[float, tuple[float, ...]], ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 1.5, 1.2, 1.5)))
STYLE: dict[Any, Any] = {  # the stubs list every key by name
    "figure.figsize": (4.2, 2.7),
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    **dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}
DARK_AND_LIGHT = "<style>.ddpmx-figure{color:#30363c}@media(prefers-color-scheme:dark){.ddpmx-figure{color:#d3d8de}}</style>"

CAPTIONS = {
    "beta": "The variance that step t adds, as a share of what is there after it.",
    "alpha_bar": "The share of the image in the variance of x at t.",
    "signal_sigma": "x at t is signal·x₀ + sigma·ε.",
    "log_snr": "log(signal²/sigma²): 0 where image and noise are equally strong.",
    "weight": "What multiplies the error of each prediction's output. Broad: the prediction of this spec.",
    "effective_weight": "The same objective on the x₀ error, per unit of log-SNR and with the timesteps' distribution in it: "
    "specs with one curve train for the same thing.",
    "sampler": "The noise level of each network evaluation, from noise to image.",
}
"""What a reader should know about each of a spec's figures, in the order of a page."""


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element: text stays text, the background is transparent, the ink follows the page."""
    title = figure.axes[0].get_title(loc="left")
    file = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue().decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # two figures of one page must not share an id
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace(INK, "currentColor")
    return svg.replace("<svg ", '<svg class="ddpmx-figure" role="img" ', 1).replace("<defs>", f"{DARK_AND_LIGHT}<defs>", 1) + "\n"


def write_plots(folder: Path, spec: Spec) -> None:
    """The spec's figures as `<folder>/<name>.svg`."""
    write(spec_figures(spec), folder)


def write(figures: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """`<folder>/<name>.svg` for each figure; returns the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    svgs = {name: to_svg(figure) for name, figure in figures.items()}
    for name, svg in svgs.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return svgs


def spec_figures(spec: Spec) -> dict[str, Figure]:
    """Every figure that a spec has before it is trained. Raises SpecError as its schedule, weighting and samplers do."""
    table: Table = spec.schedule.table()
    plans = {"sampler": spec.sampler, "evaluate": spec.evaluate.sampler}
    return {
        **schedule_figures(table),
        **weight_figures(table, spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time),
        "sampler": sampler_figure(
            table, {f"{use}: {sampler.component_name}": sampler.plan(table, spec.prediction) for use, sampler in plans.items()}
        ),
    }


def schedule_figures(table: Table) -> dict[str, Figure]:
    """β, ᾱ and log-SNR over t; for a schedule that is not variance preserving signal and sigma instead of the first two."""
    t = np.arange(table.timesteps, dtype=np.float64)
    try:
        curves = {"beta": ("β: noise that a step adds", {"": table.beta}), "alpha_bar": ("ᾱ: signal that is left", {"": table.alpha_bar})}
    except SpecError:
        curves = {"signal_sigma": ("Signal and noise", {"signal": table.signal, "sigma": table.sigma})}
    curves["log_snr"] = ("log-SNR", {"": table.log_snr})
    figures = {}
    for name, (title, lines) in curves.items():
        figures[name], axes = _panel(title, "t", "")
        for i, (label, values) in enumerate(lines.items()):
            _line(axes, t, values.numpy(), i, label)
        if len(lines) > 1:
            _legend(axes)
    return figures


def effective_weight(
    table: Table, weighting: Weighting, prediction: str | Prediction, norm: str = "l2", time: Time | None = None
) -> tuple[Floats, Floats]:
    """(log_snr, weight): what the objective is in terms of the x_0 error, ∫ weight·norm(x_0 error) d log_snr, float64 [T] each.

    The loss averages w_t·norm(output error) over the timesteps that `time` draws (None: uniform). The output error is the
    x_0 error divided by x0_from_output, and a step of the table covers some width of log-SNR, so with l2 (huber: small errors)
    weight = w_t / x0_from_output² · p(t) / |d log_snr/dt|; with l1 |x0_from_output| is not squared. Two specs with the same curve
    are one objective, whatever their predictions, schedules and times. See Kingma & Gao 2023, arXiv:2303.00848, eq. 9.
    NaN where the log-SNR is infinite.
    """
    log_snr = table.log_snr.numpy()
    _, x0_from_output = as_prediction(prediction).x0_from(table.signal, table.sigma)
    inside = np.isfinite(log_snr)
    width = np.full(log_snr.shape, np.nan)
    if inside.sum() > 1:
        width[inside] = -np.gradient(log_snr[inside])
    with np.errstate(divide="ignore", invalid="ignore"):
        on_x_start = weighting.weights(table, prediction).numpy() / np.abs(x0_from_output.numpy()) ** (1 if norm == "l1" else 2)
        return log_snr, on_x_start * _drawn(table, time) / width


def _drawn(table: Table, time: Time | None) -> Floats:
    """p(t), float64 [T]: how often training draws each index, from evenly spread uniform numbers."""
    if time is None:
        return np.full(table.timesteps, 1 / table.timesteps)
    count = 256 * table.timesteps
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn: Floats = torch.bincount(time.draw(u, table), minlength=table.timesteps).double().numpy() / count
    return drawn


def weight_figures(
    table: Table, weighting: Weighting, prediction: Prediction, norm: str = "l2", time: Time | None = None
) -> dict[str, Figure]:
    """The weight of each prediction's error over log-SNR, and what that means for the x_0 error; the spec's own is drawn bold."""
    own = prediction.component_name
    names = [own, *(name for name in ("epsilon", "x_start", "v", "velocity") if name != own and name in PREDICTIONS.names())]
    weights: dict[str, Callable[[str | Prediction], tuple[Floats, Floats]]] = {
        "weight": lambda p: (table.log_snr.numpy(), weighting.weights(table, p).numpy()),
        "effective_weight": lambda p: effective_weight(table, weighting, p, norm, time),
    }
    titles = {"weight": "Loss weight of the output error", "effective_weight": "Effective weight of the x₀ error"}
    figures = {}
    for key, values in weights.items():
        figures[key], axes = _panel(titles[key], "log-SNR", "")
        drawn = []
        for i, name in enumerate(names):
            try:
                x, y = values(prediction if name == own else name)
            except SpecError:  # not the spec's own: an experiment is checked before it is drawn
                if name == own:
                    raise
                axes.plot([], [], color="none", label=f"{name}: not finite")
                continue
            _line(axes, x, np.where(y > 0, y, np.nan), i, name, bold=name == own)
            drawn.append(y)
        _log_if_wide(axes, np.concatenate(drawn))
        axes.invert_xaxis()  # as in the plots over t, noise grows to the right
        _legend(axes)
    return figures


def sampler_figure(table: Table, plans: Mapping[str, Plan]) -> Figure:
    """The log-SNRs at which each plan evaluates the network, in order."""
    figure, axes = _panel("Where the samplers evaluate", "share of the evaluations", "log-SNR")
    for i, (label, plan) in enumerate(plans.items()):
        t = torch.tensor([row.t for row in plan], dtype=torch.float64)
        done = np.linspace(0, 1, len(plan)) if len(plan) > 1 else np.zeros(1)
        _line(axes, done, table.log_snr_at(t).numpy(), i, f"{label}, {len(plan)} evaluations", markers=len(plan) <= 60)
    axes.set_xticks([0, 0.5, 1], ["first", "half", "last"])
    _legend(axes)
    return figure


def learning_figure(
    epochs: Sequence[float], train: Sequence[float], val: Sequence[float], steps: Sequence[float] = (), step_losses: Sequence[float] = ()
) -> Figure:
    """Training and validation loss over epochs, the lowest validation loss marked. `steps` places `step_losses`, in epochs."""
    figure, axes = _panel("Loss", "epoch", "")
    losses = [np.asarray(values, dtype=np.float64) for values in (train, val, step_losses)]
    if len(steps):
        axes.plot(
            *_thinned(steps, losses[2]),
            color=INK,
            alpha=0.3,
            linewidth=0.8,
            label="single steps" if len(steps) <= THIN else "steps, averaged",
        )
    few = len(epochs) <= 20
    _line(axes, epochs, losses[0], 0, "training", markers=few)
    _line(axes, epochs, losses[1], 1, "validation", markers=few)
    if np.isfinite(losses[1]).any():
        best = int(np.nanargmin(np.where(np.isfinite(losses[1]), losses[1], np.nan)))
        axes.plot(
            epochs[best],
            losses[1][best],
            "o",
            color=COLOURS[1],
            markersize=6,
            markerfacecolor="none",
            label=f"lowest, {losses[1][best]:.4g}",
        )
    _log_if_wide(axes, np.concatenate(losses), factor=4)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _legend(axes)
    return figure


def metric_figure(name: str, epochs: Sequence[float], values: Sequence[float]) -> Figure:
    """One metric over the epochs at which it was measured."""
    figure, axes = _panel(name, "epoch", "")
    _line(axes, epochs, values, 0, "", markers=len(epochs) <= 60)
    _log_if_wide(axes, np.asarray(values, dtype=np.float64), factor=10)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return figure


THIN = 300


def _thinned(x: Sequence[float], y: Floats) -> tuple[Floats, Floats]:
    """At most THIN points: means of neighbours."""
    parts = min(THIN, len(y))
    return tuple(np.array([part.mean() for part in np.array_split(np.asarray(v, dtype=np.float64), parts)]) for v in (x, y))  # type: ignore[return-value]


def _panel(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8, handlelength=2.4, labelcolor=INK)


def _line(
    axes: Axes,
    x: Sequence[float] | Floats,
    y: Sequence[float] | Floats,
    index: int,
    label: str,
    *,
    bold: bool = False,
    markers: bool = False,
) -> None:
    """A curve whose values that are not finite are gaps, and which stays visible where another covers it."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(finite, x, np.nan), np.where(finite, y, np.nan)
    alone = finite & ~np.roll(np.append(finite, False), 1)[:-1] & ~np.append(finite, False)[1:]  # no neighbour, so no line would show it
    axes.plot(
        *(x, y),
        color=COLOURS[index % len(COLOURS)],
        linestyle=DASHES[index % len(DASHES)],
        linewidth=3.2 if bold else 1.6,
        alpha=0.55 if bold else 1,
        marker="o" if markers or bool(alone.any()) else "",
        markevery=None if markers else [int(i) for i in np.flatnonzero(alone)],
        markersize=2.8,
        label=label or "_",
    )


def _log_if_wide(axes: Axes, values: Floats, factor: float = 30) -> None:
    """A log axis where the positive values spread over more than `factor` and none is below zero."""
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if len(positive) and (values >= 0).all() and positive.max() > factor * positive.min():
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if high > 100 * low:
            axes.yaxis.set_major_formatter(_power_of_ten)
        else:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def _power_of_ten(value: float, _: object) -> str:
    """10⁻³ in plain characters: mathtext would be drawn glyph by glyph."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
