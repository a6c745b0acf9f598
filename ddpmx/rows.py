"""A sampling method as data: the rows of coefficients that the one sampling loop runs.

Plain data, below both `ops` (which runs a row) and `samplers` (which plan them).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class Row:
    """One network evaluation, if the row has an x0, and the update after it. With the state x and the network's output at index `t`::

        x0 = clip(x0_from_x·x + x0_from_output·output)
        x' = c_x·x + c_x0·x0 + c_anchor·anchor + Σ c_history[i]·history[i] + c_noise·ε
        m  = m_x·x + m_x0·x0

    `t` is in table indices and may be fractional. `history` holds earlier m, newest first. `keep_anchor` makes this
    row's x the anchor of the rows after it; `push` puts m on the history, after x' is made. A term whose coefficient
    is 0 is not computed.

    With `noise_range` = (low, high), c_noise is multiplied by exp(low + (high − low)·(v + 1)/2) for each element, v being the
    second half of the channels of an output that has twice those of x: a learned variance (Nichol & Dhariwal 2021, eq. 15).
    """

    t: float
    x0_from_x: float
    x0_from_output: float
    c_x: float
    c_x0: float
    c_anchor: float = 0.0
    c_history: tuple[float, ...] = ()
    c_noise: float = 0.0
    m_x: float = 0.0
    m_x0: float = 1.0
    keep_anchor: bool = False
    push: bool = True
    noise_range: tuple[float, float] | None = None

    @property
    def evaluates(self) -> bool:
        """Whether the row has an x0; one without only scales x and adds noise."""
        return self.x0_from_x != 0 or self.x0_from_output != 0


@dataclass(frozen=True)
class DynamicClip:
    """x_0 bounded for each image to [−s, s] and divided by s: the `percentile` of its |x_0|, at least 1.

    Saharia et al. 2022, arXiv:2205.11487, section 2.3. `percentile` is in (0, 1].
    """

    percentile: float = 0.995


@dataclass(frozen=True)
class Plan:
    """All rows of a sampling run, from the noisiest to the clean image.

    `clip` bounds x0 to [−clip, clip], or as a `DynamicClip` says (None: no bound). `init_scale` is the standard deviation of
    the starting noise, the root mean square of x at the first index for data of unit variance. `levels` has the (signal,
    sigma) of x where each row finds it, which editing needs; plans without may leave it empty.
    """

    rows: tuple[Row, ...]
    clip: float | DynamicClip | None = None
    init_scale: float = 1.0
    levels: tuple[tuple[float, float], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def evaluations(self) -> int:
        """How often the network runs."""
        return sum(row.evaluates for row in self.rows)

    @cached_property
    def history(self) -> int:
        """How many past m the rows look back at."""
        return max((len(row.c_history) for row in self.rows), default=0)

    def resampled(self, times: int, jump: int = 10) -> Plan:
        """The plan with each stretch of `jump` rows run `times` times, for inpainting.

        Between two runs of a stretch, a row that evaluates nothing adds the noise back: from (signal, sigma) to (signal', sigma'),
        x' = signal'/signal·x + √(sigma'² − (signal'/signal·sigma)²)·ε. Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1 and
        section 4.2. The stretches are counted from the clean image, and the last row, which ends there, is run once.

        Raises ValueError for fewer than 1 time or row, for a plan whose rows depend on rows before them (multistep methods, or
        two evaluations a step), and for one without levels.
        """
        if times < 1 or jump < 1:
            raise ValueError(f"times and jump should be at least 1, not {times} and {jump}")
        if any(row.c_anchor or row.c_history or not row.evaluates for row in self.rows):
            raise ValueError(
                "resampling needs a sampler whose steps are one evaluation each and look back at none, as ddpm's and ddim's"
            )
        if len(self.levels) != len(self.rows):
            raise ValueError("the plan does not say the noise level of each row")
        pairs = list(zip(self.rows, self.levels, strict=True))
        body, end = pairs[:-1], pairs[-1]
        first = len(body) % jump
        planned = body[:first]
        for start in range(first, len(body), jump):
            stretch, after = body[start : start + jump], pairs[start + jump][1]
            planned += stretch
            for _ in range(times - 1):
                planned += [(_noised(after, stretch[0][1], stretch[0][0].t), after), *stretch]
        rows, levels = zip(*planned, end, strict=True)
        return replace(self, rows=rows, levels=levels)


def _noised(low: tuple[float, float], high: tuple[float, float], t: float) -> Row:
    """The row that takes x from one (signal, sigma) to another with more noise, at index t."""
    ratio = high[0] / low[0]
    return Row(
        t, 0.0, 0.0, c_x=ratio, c_x0=0.0, c_noise=math.sqrt(high[1] ** 2 - (ratio * low[1]) ** 2), push=False
    )
