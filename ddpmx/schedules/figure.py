"""The figure of a schedule's table, for notebooks. matplotlib is imported when one is plotted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(signal: Sequence[float], sigma: Sequence[float], log_snr: Sequence[float]) -> Figure:
    """Signal and sigma, and log-SNR, over the index; points where log-SNR is infinite are left out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(signal, label="signal")
    left.plot(sigma, label="sigma")
    left.legend(frameon=False)
    finite = [(index, value) for index, value in enumerate(log_snr) if abs(value) < float("inf")]
    right.plot([index for index, _ in finite], [value for _, value in finite])
    right.set_ylabel("log-SNR")
    for axes in (left, right):
        axes.set_xlabel("index")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
