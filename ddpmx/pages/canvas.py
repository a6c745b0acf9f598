"""Style of all figures, and their conversion to SVG: reproducible to the byte, for light and dark pages.

A figure is one small panel, so that its text stays readable however a page arranges its figures.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from .svg import DARK_AND_LIGHT

Floats = NDArray[np.float64]
Numbers = Sequence[float] | Floats
XY = tuple[Numbers, Numbers]
"""The x and y values of a curve."""

INK = "#010203"
"""A placeholder for the page's text colour, which `to_svg` puts in its place."""
COLOURS = ("#1f86c9", "#d55e00", "#0a9c74", "#c06ba4")
"""Hues of Okabe and Ito's colour-blind-safe palette, in shades readable on white and on near-black."""
Dash = str | tuple[float, tuple[float, ...]]
"""A line style of matplotlib."""
DASHES: tuple[Dash, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 1.5, 1.2, 1.5)))
STYLE: dict[Any, Any] = {  # Any, as the stubs list every key by name
    "figure.figsize": (4.2, 2.7),
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "text.parse_math": False,
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
        (
            "axes.edgecolor",
            "axes.labelcolor",
            "axes.titlecolor",
            "text.color",
            "xtick.color",
            "ytick.color",
            "grid.color",
        ),
        INK,
    ),
}
THIN = 300
"""Most points of a curve over steps; longer ones are averaged."""


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, with real text in the page's colour and a transparent background."""
    title = figure.axes[0].get_title(loc="left")
    # Figures of the same curves over different x axes must not share ids either.
    salt = f"{title} {figure.axes[0].get_xlabel()}"
    file = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(
            file,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = file.getvalue().decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # two figures on one page must not share an id
    svg = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace(INK, "currentColor")
    label = f'<svg class="ddpmx-figure" role="img" aria-label="{html.escape(title)}" '
    return (
        svg.replace("<svg ", label, 1).replace("<defs>", f"<style>{DARK_AND_LIGHT}</style><defs>", 1) + "\n"
    )


def write(figures: Mapping[str, Figure], folder: Path) -> dict[str, str]:
    """Write each figure to `<folder>/<name>.svg`; returns the SVG texts by name."""
    folder.mkdir(exist_ok=True)
    svgs = {name: to_svg(figure) for name, figure in figures.items()}
    for name, svg in svgs.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return svgs


def thinned(values: Numbers) -> Floats:
    """At most THIN numbers: means of equal stretches of neighbouring values."""
    parts = np.array_split(np.asarray(values, dtype=np.float64), min(THIN, len(values)))
    return np.array([part.mean() for part in parts])


def panel(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure in the shared style, and its axes."""
    with mpl.rc_context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
    return figure, axes


def legend(axes: Axes) -> None:
    """Add a legend in the shared style."""
    axes.legend(frameon=False, fontsize=8, handlelength=2.4, labelcolor=INK)


def style(index: int) -> tuple[str, Dash]:
    """Colour and dashes of curve `index`: 16 distinct styles, the first four of different colours."""
    return COLOURS[index % len(COLOURS)], DASHES[(index + index // len(COLOURS)) % len(DASHES)]


def line(
    axes: Axes,
    curve: XY,
    index: int,
    label: str = "",
    *,
    bold: bool = False,
    markers: bool = False,
    alpha: float = 1,
) -> None:
    """Plot a curve in the style of `index`, with a gap wherever a value is not finite."""
    x, y = (np.asarray(numbers, dtype=np.float64) for numbers in curve)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(finite, x, np.nan), np.where(finite, y, np.nan)
    # A point without neighbours has no line segment, so it needs a marker.
    alone = finite & ~np.roll(np.append(finite, False), 1)[:-1] & ~np.append(finite, False)[1:]
    axes.plot(
        *(x, y),
        color=style(index)[0],
        linestyle=style(index)[1],
        linewidth=3.2 if bold else 1.6,
        alpha=0.55 if bold else alpha,
        marker="o" if markers or bool(alone.any()) else "",
        markevery=None if markers else [int(i) for i in np.flatnonzero(alone)],
        markersize=2.8,
        label=label or "_",
    )


def band(axes: Axes, x: Numbers, intervals: Sequence[tuple[float, float] | None], index: int) -> None:
    """Shade the intervals of curve `index`, with gaps where there are none.

    A single interval becomes a bar.
    """
    low, high = (
        np.array([interval or (np.nan, np.nan) for interval in intervals], dtype=np.float64).reshape(-1, 2).T
    )
    if len(low) > 1:
        axes.fill_between(np.asarray(x), low, high, color=style(index)[0], alpha=0.15, linewidth=0)
    elif np.isfinite(low).any():
        axes.vlines(x, low, high, color=style(index)[0], alpha=0.6, linewidth=1.2)


def behind(axes: Axes) -> Axes:
    """Axes with the same x axis, behind the curves and without a scale: for a background shape."""
    twin = axes.twinx()
    twin.set_axis_off()
    axes.set_zorder(twin.get_zorder() + 1)
    return twin


def whole_numbers(axes: Axes) -> None:
    """Put the x axis's ticks at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def in_thousands(axes: Axes) -> None:
    """Write the x axis's ticks as 20k or 1.5M, from ten thousand on."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(
        lambda value, _: (
            f"{value / 1e6:g}M"
            if abs(value) >= 1e6
            else f"{value / 1e3:g}k"
            if abs(value) >= 1e4
            else f"{value:g}"
        )
    )


def log_x(axes: Axes, values: Numbers) -> None:
    """Make the x axis logarithmic, with ticks at 1, 2 and 5 times powers of ten; values are positive."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    axes.set_xlim(low / 1.25, high * 1.25)
    locator = LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def bars(axes: Axes, x: Numbers, intervals: Sequence[tuple[float, float] | None], index: int) -> None:
    """Draw each interval of curve `index` as a vertical bar."""
    known = [(at, *interval) for at, interval in zip(x, intervals, strict=True) if interval is not None]
    if known:
        axes.vlines(*zip(*known, strict=True), color=style(index)[0], alpha=0.6, linewidth=1.2)


def log_if_wide(axes: Axes, values: Floats, factor: float = 30) -> None:
    """Make the y axis logarithmic if no value is negative and positive ones span more than `factor`-fold."""
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if len(positive) and (values >= 0).all() and positive.max() > factor * positive.min():
        axes.set_yscale("log", nonpositive="mask")
        low, high = axes.get_ylim()
        if high > 100 * low:
            axes.yaxis.set_major_formatter(_power_of_ten)
        else:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def _power_of_ten(value: float, _: object) -> str:
    """A power of ten, such as 10⁻³, in plain characters: mathtext would turn into separate glyph outlines."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
