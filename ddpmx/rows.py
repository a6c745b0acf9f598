"""Sampling methods as data: rows of coefficients, which the single sampling loop runs.

These classes lie below both `ops`, which runs a row, and `samplers`, which plan the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class Row:
    """One step of a plan: a network evaluation, unless the row has no x0, then an update of the state x.

    With the network's output for x at index `t`::

        x0 = clip(x0_from_x·x + x0_from_output·output)
        x' = c_x·x + c_x0·x0 + c_anchor·anchor + Σ c_history[i]·history[i] + c_noise·ε
        m  = m_x·x + m_x0·x0

    A term whose coefficient is 0 is not computed.
    """

    t: float
    """Table index at which the network is evaluated, possibly fractional; index 0 has the least noise."""
    x0_from_x: float
    """Coefficient of x in x0."""
    x0_from_output: float
    """Coefficient of the network's output in x0."""
    c_x: float
    """Coefficient of x in x'."""
    c_x0: float
    """Coefficient of x0 in x'."""
    c_anchor: float = 0.0
    """Coefficient of the anchor, an earlier row's x, in x'."""
    c_history: tuple[float, ...] = ()
    """Coefficients of the earlier m in x', newest first."""
    c_noise: float = 0.0
    """Coefficient of ε, standard normal noise, in x'."""
    m_x: float = 0.0
    """Coefficient of x in m."""
    m_x0: float = 1.0
    """Coefficient of x0 in m."""
    keep_anchor: bool = False
    """Whether this row's x becomes the anchor of later rows."""
    push: bool = True
    """Whether m is added to the history, after x' has been computed."""
    noise_range: tuple[float, float] | None = None
    """(low, high) for a learned variance, else None. Each element's c_noise is multiplied by exp(low + (high
    − low)·(v + 1)/2), where v is the second half of the channels of the network's output, which then has
    twice as many channels as x (Nichol & Dhariwal 2021, eq. 15)."""

    @property
    def evaluates(self) -> bool:
        """Whether the row has an x0 and so evaluates the network; other rows only scale x and add noise."""
        return self.x0_from_x != 0 or self.x0_from_output != 0


@dataclass(frozen=True)
class DynamicClip:
    """Dynamic thresholding: each image's x_0 is clamped to [−s, s] and divided by s.

    s is a percentile of the image's |x_0|, and at least 1. Saharia et al. 2022, arXiv:2205.11487, section
    2.3.
    """

    percentile: float = 0.995
    """The percentile as a fraction, in (0, 1]."""


@dataclass(frozen=True)
class Plan:
    """All rows of a sampling run, from the noisiest state to the clean image."""

    rows: tuple[Row, ...]
    """The rows, in the order in which they run."""
    clip: float | DynamicClip | None = None
    """Bound of x0: [−clip, clip], or a dynamic bound; None for no bound."""
    init_scale: float = 1.0
    """Standard deviation of the starting noise: the RMS of x at the first index for data of unit variance."""
    levels: tuple[tuple[float, float], ...] = ()
    """(signal, sigma) of x before each row; needed for editing and inpainting, otherwise optional."""
    lacks_moments: bool = False
    """Whether the sampler needs moments of the network and got none. Such a plan can be counted and plotted,
    but not run."""
    error: float | None = None
    """Largest relative standard error of a row's noise variance; None if no variance is estimated."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def evaluations(self) -> int:
        """The number of network evaluations."""
        return sum(row.evaluates for row in self.rows)

    @cached_property
    def history(self) -> int:
        """The number of earlier m that the rows use."""
        return max((len(row.c_history) for row in self.rows), default=0)

    def _repr_html_(self) -> str:
        """The plan in a notebook: its length, and the noise level of each row as a curve."""
        text = f"Plan of {len(self)} rows with {self.evaluations} network evaluations, clip {self.clip}"
        levels = [math.log(sigma / signal) for signal, sigma in self.levels if signal > 0 < sigma]
        return f"<div>{text}; log(sigma/signal) of each row:</div>{_curve(levels)}"

    def resampled(self, times: int, jump: int = 10) -> Plan:
        """The plan with each stretch of `jump` rows run `times` times, for inpainting.

        Between two runs of a stretch, an additional row without a network evaluation adds the noise back. The
        stretches are counted from the clean image. The last row, which produces it, runs once. Lugmayr et al.
        2022, arXiv:2201.09865, algorithm 1 and section 4.2.

        Raises ValueError if `times` or `jump` is less than 1, if rows depend on earlier rows (multistep
        methods, and methods with two evaluations per step), and for a plan without levels.
        """
        if times < 1 or jump < 1:
            raise ValueError(f"times and jump should be at least 1, not {times} and {jump}")
        if any(row.c_anchor or row.c_history or not row.evaluates for row in self.rows):
            raise ValueError(
                "resampling needs a sampler with one evaluation per step and no memory of earlier steps,"
                " such as ddpm or ddim"
            )
        if len(self.levels) != len(self.rows):
            raise ValueError("resampling needs a plan with `levels`, the noise level of each row")
        pairs = list(zip(self.rows, self.levels, strict=True))
        body, end = pairs[:-1], pairs[-1]
        first = len(body) % jump
        planned = body[:first]
        for start in range(first, len(body), jump):
            stretch, after = body[start : start + jump], pairs[start + jump][1]
            planned += stretch
            for _ in range(times - 1):
                planned += [(_noising_row(after, stretch[0][1], stretch[0][0].t), after), *stretch]
        rows, levels = zip(*planned, end, strict=True)
        return replace(self, rows=rows, levels=levels)


def _curve(values: Sequence[float]) -> str:
    """The values as points of an `<svg>` element, from left to right; empty without any."""
    if not values:
        return ""
    low, high = min(values), max(values)
    across, down = 400 / max(1, len(values) - 1), 100 / ((high - low) or 1)
    points = [(10 + i * across, 10 + (high - value) * down) for i, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/>' for x, y in points)
    stroke = f'<polyline points="{line}" fill="none" stroke="currentColor"/>'
    labels = f'<text x="10" y="140">{high:.3g} … {low:.3g}</text>'
    return f'<svg width="420" height="150" role="img">{stroke}{dots}{labels}</svg>'


def _noising_row(low: tuple[float, float], high: tuple[float, float], t: float) -> Row:
    """The row that takes x from (signal, sigma) = `low` to `high`, which has more noise, at index t."""
    # x' = signal'/signal·x + √(sigma'² − (signal'/signal·sigma)²)·ε
    ratio = high[0] / low[0]
    noise = math.sqrt(high[1] ** 2 - (ratio * low[1]) ** 2)
    return Row(t, 0.0, 0.0, c_x=ratio, c_x0=0.0, c_noise=noise, push=False)
