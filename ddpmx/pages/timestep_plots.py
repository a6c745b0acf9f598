"""Curves over the timesteps, from the `per_t` event that each evaluation writes (`Validated.by_timestep`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..training.events import Event, passes_of
from .canvas import Floats, behind, legend, line, log_if_wide, panel
from .page import evenly

MOST_CURVES = 6
"""Most evaluations in one figure: the first, the last and some between."""
GREY = "#808890"
CAPTIONS = {
    "loss_by_t": "Every evaluation uses the same validation images, timesteps and noise. Noise grows to the "
    "right. Shaded: the share of the training loss that comes from each of up to 25 equal ranges of "
    "timesteps, at the last evaluation.",
    "bits_by_t": "One step's term of the variational bound, in bits per dimension. It does not depend on the "
    "training objective. The decoder's term is not included.",
}
"""Captions of the figures, by name."""


def timestep_figures(events: Sequence[Event]) -> dict[str, Figure]:
    """The loss and the variational bound's bits over the noise level, older evaluations paler.

    A figure is omitted if no event has its values.
    """
    titles = {
        "loss_by_t": ("loss", "Validation loss by noise level"),
        "bits_by_t": ("bits", "Bits by noise level"),
    }
    figures = {}
    for name, (key, title) in titles.items():
        having = [event for event in events if np.isfinite(floats(event, key)).any()]
        if having:
            figures[name], axes = panel(title, "", "")
            if key == "loss":
                _shade(axes, events[-1])
            _curves(axes, having, key)
    return figures


def _shade(axes: Axes, event: Event) -> None:
    """Shade each timestep range's share of the training loss behind the curves."""
    shares = floats(event, "share")
    if not np.isfinite(shares).any():  # a loss that is not finite has no shares
        return
    under = behind(axes)
    shade = partial(Axes.fill_between, color=GREY, alpha=0.22, linewidth=0)
    shade(under, floats(event, x_key(event)), shares, step="mid")
    under.set_ylim(0, 1.05 * float(np.nanmax(shares, initial=0)) or 1)
    shade(axes, [], [], label=f"share of training loss, at most {np.nanmax(shares):.0%}")


def floats(event: Event, key: str) -> Floats:
    """A list of the event as an array, with NaN for null."""
    return np.array(event[key], dtype=np.float64)  # NumPy turns None into NaN


def x_key(event: Event) -> str:
    """The key of the event's x values: `log_snr`, or `t` if fewer than two values of log-SNR are finite."""
    return "log_snr" if np.isfinite(floats(event, "log_snr")).sum() > 1 else "t"


def _curves(axes: Axes, events: Sequence[Event], key: str) -> None:
    plotted = evenly(list(events), MOST_CURVES)
    x = x_key(plotted[-1])
    alphas = np.linspace(0.35, 1, len(plotted)) if len(plotted) > 1 else [1]
    for event, alpha in zip(plotted, alphas, strict=True):
        label = f"epoch {passes_of(event):g}" if event in (plotted[0], plotted[-1]) else ""
        line(axes, (floats(event, x), floats(event, key)), 0, label, alpha=alpha)
    log_if_wide(axes, np.concatenate([floats(event, key) for event in plotted]), 10)
    legend(axes)
    axes.set_xlabel("t" if x == "t" else "log-SNR, with t below it")
    if x == "log_snr":
        axes.invert_xaxis()  # noise grows to the right, as in the plots over t
        axes.xaxis.set_major_locator(MaxNLocator(6))
        levels, t = floats(plotted[-1], "log_snr"), floats(plotted[-1], "t")
        finite = np.isfinite(levels)
        t, levels = t[finite][::-1], levels[finite][::-1]
        axes.xaxis.set_major_formatter(
            lambda level, _: (
                f"{level:g}".replace("-", "−")
                + (f"\n{np.interp(level, levels, t):.0f}" if levels[0] <= level <= levels[-1] else "\n")
            )
        )
