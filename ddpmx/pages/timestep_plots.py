"""Curves over the timesteps, from the `per_t` events that each evaluation writes (`Validated.by_timestep`)."""

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

SHOWN = 6
"""Most evaluations in one figure: the first, the last and some between."""
GREY = "#808890"
CAPTIONS = {
    "loss_by_t": "Of the same validation images, timesteps and noise at each evaluation; more noise to the right. "
    "Shaded: how much of the training loss comes from each of up to 25 equal stretches of the timesteps, at the last evaluation.",
    "bits_by_t": "The variational bound's term of one step, in bits a dimension, whatever the objective; without the decoder's.",
}


def timestep_figures(events: Sequence[Event]) -> dict[str, Figure]:
    """The loss and the bound's bits over the noise levels, `per_t` events from pale to full colour; none of what no event has."""
    drawn = {
        "loss_by_t": ("loss", "Validation loss by noise level"),
        "bits_by_t": ("bits", "Bits by noise level"),
    }
    figures = {}
    for name, (key, title) in drawn.items():
        having = [event for event in events if np.isfinite(floats(event, key)).any()]
        if having:
            figures[name], axes = panel(title, "", "")
            if key == "loss":
                _shade(axes, events[-1])
            _curves(axes, having, key)
    return figures


def _shade(axes: Axes, event: Event) -> None:
    share = floats(event, "share")
    if not np.isfinite(share).any():  # a loss that is not finite has no shares
        return
    under = behind(axes)
    shade = partial(Axes.fill_between, color=GREY, alpha=0.22, linewidth=0)
    shade(under, floats(event, x_key(event)), share, step="mid")
    under.set_ylim(0, 1.05 * float(np.nanmax(share, initial=0)) or 1)
    shade(axes, [], [], label=f"share of training, at most {np.nanmax(share):.0%}")


def floats(event: Event, key: str) -> Floats:
    """A list of the event; what it does not have is NaN."""
    return np.array(event[key], dtype=np.float64)  # of None too


def x_key(event: Event) -> str:
    """Over what its lists are drawn: `log_snr`, or `t` where that is infinite at nearly all of them."""
    return "log_snr" if np.isfinite(floats(event, "log_snr")).sum() > 1 else "t"


def _curves(axes: Axes, events: Sequence[Event], key: str) -> None:
    shown = evenly(list(events), SHOWN)
    over = x_key(shown[-1])
    for event, alpha in zip(shown, np.linspace(0.35, 1, len(shown)) if len(shown) > 1 else [1], strict=True):
        label = f"epoch {passes_of(event):g}" if event in (shown[0], shown[-1]) else ""
        line(axes, (floats(event, over), floats(event, key)), 0, label, alpha=alpha)
    log_if_wide(axes, np.concatenate([floats(event, key) for event in shown]), 10)
    legend(axes)
    axes.set_xlabel("t" if over == "t" else "log-SNR, and t below it")
    if over == "log_snr":
        axes.invert_xaxis()  # as in the plots over t, noise grows to the right
        axes.xaxis.set_major_locator(MaxNLocator(6))
        levels, t = floats(shown[-1], "log_snr"), floats(shown[-1], "t")
        inside = np.isfinite(levels)
        at, levels = t[inside][::-1], levels[inside][::-1]
        axes.xaxis.set_major_formatter(
            lambda level, _: (
                f"{level:g}".replace("-", "−")
                + (f"\n{np.interp(level, levels, at):.0f}" if levels[0] <= level <= levels[-1] else "\n")
            )
        )
