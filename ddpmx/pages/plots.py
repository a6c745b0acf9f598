"""Figures of schedules, loss weights, samplers and training, from plain arrays and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ..errors import SpecError
from ..models import embed_time
from ..predictions import Prediction
from ..rows import Plan
from ..schedules import Table
from ..spec.schema import Spec
from ..theory.effective import effective_weight
from ..times import Time
from ..weightings import Weighting
from .canvas import (
    COLOURS,
    INK,
    THIN,
    Floats,
    Numbers,
    band,
    legend,
    line,
    log_if_wide,
    panel,
    thinned,
    whole_numbers,
    write,
)

CAPTIONS = {
    "beta": "The fraction of the variance after step t that is noise added by step t.",
    "alpha_bar": "The fraction of the variance of xₜ that comes from the image.",
    "signal_sigma": "The noisy image at t is xₜ = signal·x₀ + sigma·ε.",
    "log_snr": "log(signal²/sigma²). At 0, image and noise are equally strong.",
    "weight": "The factor that multiplies the network's output error, for each choice of what the network "
    "predicts. The wide line is this spec's prediction.",
    "effective_weight": "The same objective as a weight on the x₀ error, per unit of log-SNR; this includes "
    "how often each timestep is drawn. Specs with the same curve minimise the same objective.",
    "learned_weight": "u of the learned weighting at the end of training: its estimate of the logarithm of "
    "the base-weighted loss. The loss is divided by exp(u).",
    "sampler": "The noise level of each network evaluation, from pure noise to the image.",
}
"""Captions of a spec's figures, in their order on a page."""


def write_plots(folder: Path, spec: Spec) -> None:
    """Write the spec's figures to `<folder>/<name>.svg`."""
    write(spec_figures(spec), folder)


def write_learned(folder: Path, table: Table, weighting: nn.Module | None) -> None:
    """Plot a learned weighting to `<folder>/learned_weight.svg`; does nothing if there is none."""
    if weighting is not None:
        write({"learned_weight": learned_figure(table, weighting)}, folder)


def spec_figures(spec: Spec) -> dict[str, Figure]:
    """All figures of a spec before training, by name. Raises SpecError if a component of the spec does."""
    table = spec.schedule.table()
    plans = {"sampler": spec.sampler, "evaluate": spec.evaluate.sampler}
    return {
        **schedule_figures(table),
        **weight_figures(table, spec.loss.weighting, spec.prediction, spec.loss.norm, spec.time),
        "sampler": sampler_figure(
            table,
            {
                f"{use}: {sampler.component_name}": sampler.plan(table, spec.prediction)
                for use, sampler in plans.items()
            },
        ),
    }


def schedule_figures(table: Table) -> dict[str, Figure]:
    """β, ᾱ and log-SNR over t.

    If the schedule is not variance preserving, signal and sigma instead of β and ᾱ.
    """
    t = np.arange(table.timesteps, dtype=np.float64)
    try:
        curves = {
            "beta": ("β: noise added by each step", {"": table.beta}),
            "alpha_bar": ("ᾱ: signal that remains", {"": table.alpha_bar}),
        }
    except SpecError:
        curves = {"signal_sigma": ("Signal and noise", {"signal": table.signal, "sigma": table.sigma})}
    curves["log_snr"] = ("log-SNR", {"": table.log_snr})
    figures = {}
    for name, (title, lines) in curves.items():
        figures[name], axes = panel(title, "t", "")
        for i, (label, values) in enumerate(lines.items()):
            line(axes, (t, values.numpy()), i, label)
        if len(lines) > 1:
            # Sigma may be far larger than the signal.
            log_if_wide(axes, np.array([values.max() for values in lines.values()]))
            legend(axes)
    return figures


def weight_figures(
    table: Table, weighting: Weighting, prediction: Prediction, norm: str = "l2", time: Time | None = None
) -> dict[str, Figure]:
    """The loss weight and the effective weight over log-SNR, for each prediction; the spec's own is bold."""
    spec_name = prediction.component_name
    names = [spec_name, *(name for name in ("epsilon", "x_start", "v", "velocity") if name != spec_name)]
    weights: dict[str, Callable[[str | Prediction], tuple[Floats, Floats]]] = {
        "weight": lambda p: (table.log_snr.numpy(), weighting.weights(table, p).numpy()),
        "effective_weight": lambda p: effective_weight(table, weighting, p, norm, time),
    }
    titles = {
        "weight": "Loss weight of the output error",
        "effective_weight": "Effective weight of the x₀ error",
    }
    figures = {}
    for key, values in weights.items():
        figures[key], axes = panel(titles[key], "log-SNR", "")
        plotted = []
        for i, name in enumerate(names):
            try:
                x, y = values(prediction if name == spec_name else name)
            except SpecError:  # the spec's own weight was checked before; another's may not be finite
                if name == spec_name:
                    raise
                axes.plot([], [], color="none", label=f"{name}: not finite")
                continue
            line(axes, (x, y), i, name, bold=name == spec_name)
            plotted.append(y)
        log_if_wide(axes, np.concatenate(plotted))
        axes.invert_xaxis()  # noise grows to the right, as in the plots over t
        legend(axes)
    return figures


def learned_figure(table: Table, weighting: nn.Module) -> Figure:
    """The output u of a learned weighting over log-SNR."""
    figure, axes = panel("Learned weight: u", "log-SNR", "")
    log_snr = embed_time(torch.arange(table.timesteps), table, "log_snr")
    with torch.no_grad():
        u = weighting(log_snr.to(next(weighting.parameters()).device)).cpu()
    line(axes, (log_snr.numpy(), u.numpy()), 0)
    axes.invert_xaxis()
    return figure


def sampler_figure(table: Table, plans: Mapping[str, Plan]) -> Figure:
    """The log-SNRs at which each sampling plan evaluates the network, in order."""
    figure, axes = panel("Noise levels of the samplers", "progress of sampling", "log-SNR")
    for i, (label, plan) in enumerate(plans.items()):
        t = torch.tensor([row.t for row in plan], dtype=torch.float64)
        progress = np.linspace(0, 1, len(plan)) if len(plan) > 1 else np.zeros(1)
        line(
            axes,
            (progress, table.log_snr_at(t).numpy()),
            i,
            f"{label}, {plan.evaluations} evaluations",
            markers=len(plan) <= 60,
        )
    axes.set_xticks([0, 0.5, 1], ["first", "half", "last"])
    legend(axes)
    return figure


def learning_figure(
    epochs: Numbers, train: Numbers, val: Numbers, steps: Numbers = (), step_losses: Numbers = ()
) -> Figure:
    """Training and validation loss over epochs, with the lowest validation loss marked.

    `step_losses` are losses of single steps, and `steps` their x positions in epochs.
    """
    figure, axes = panel("Loss", "epoch", "")
    losses = [np.asarray(values, dtype=np.float64) for values in (train, val, step_losses)]
    if len(steps):
        label = "single steps" if len(steps) <= THIN else "steps, averaged"
        axes.plot(thinned(steps), thinned(losses[2]), color=INK, alpha=0.3, linewidth=0.8, label=label)
    few = len(epochs) <= 20
    line(axes, (epochs, losses[0]), 0, "training", markers=few)
    line(axes, (epochs, losses[1]), 1, "validation", markers=few)
    if np.isfinite(losses[1]).any():
        best = int(np.nanargmin(np.where(np.isfinite(losses[1]), losses[1], np.nan)))
        lowest = losses[1][best]
        axes.plot(
            epochs[best],
            lowest,
            "o",
            color=COLOURS[1],
            markersize=6,
            markerfacecolor="none",
            label=f"lowest, {lowest:.4g}",
        )
    log_if_wide(axes, np.concatenate(losses), factor=4)
    whole_numbers(axes)
    legend(axes)
    return figure


def metric_figure(
    name: str,
    epochs: Sequence[float],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None] = (),
) -> Figure:
    """One metric over the epochs at which it was measured, with its 95 % intervals shaded."""
    figure, axes = panel(name, "epoch", "")
    if intervals:
        band(axes, epochs, intervals, 0)
    line(axes, (epochs, values), 0, markers=len(epochs) <= 60)
    log_if_wide(axes, np.asarray(values, dtype=np.float64), factor=10)
    whole_numbers(axes)
    return figure


def gradient_figure(steps: Numbers, norms: Numbers, clip: float | None = None) -> Figure:
    """The gradient's norm before clipping, over steps.

    If steps are averaged, also the maximum of each stretch.
    """
    figure, axes = panel("Gradient norm", "step", "")
    values = np.asarray(norms, dtype=np.float64)
    if len(values) > THIN:
        maxima = [part.max() for part in np.array_split(values, THIN)]
        axes.plot(thinned(steps), maxima, color=INK, alpha=0.3, linewidth=0.8, label="maximum")
    line(axes, (thinned(steps), thinned(values)), 0, "mean" if len(values) > THIN else "")
    if clip is not None:
        axes.axhline(
            clip, color=COLOURS[1], linewidth=1, linestyle=(0, (5, 2)), label=f"clipped above {clip:g}"
        )
    log_if_wide(axes, values, factor=10)
    if axes.get_legend_handles_labels()[0]:
        legend(axes)
    return figure
