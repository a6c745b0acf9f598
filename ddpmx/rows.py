"""A sampling method as data: the rows of coefficients that the one sampling loop runs.

Plain data, below both `ops` (which runs a row) and `samplers` (which plan them).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One network evaluation, if the row has an x0, and the update after it. With the state x and the network's output at index `t`::

        x0 = clip(x0_from_x·x + x0_from_output·output)
        x' = c_x·x + c_x0·x0 + c_anchor·anchor + Σ c_history[i]·history[i] + c_noise·ε
        m  = m_x·x + m_x0·x0

    `t` is in table indices and may be fractional. `history` holds earlier m, newest first. `keep_anchor` makes this
    row's x the anchor of the rows after it; `push` puts m on the history, after x' is made. A term whose coefficient
    is 0 is not computed.
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

    @property
    def evaluates(self) -> bool:
        """Whether the row has an x0; one without only scales x and adds noise."""
        return self.x0_from_x != 0 or self.x0_from_output != 0


@dataclass(frozen=True)
class Plan:
    """All rows of a sampling run, from the noisiest to the clean image.

    `clip` bounds x0 to [−clip, clip] (None: no bound). `init_scale` is the standard deviation of the starting noise,
    the root mean square of x at the first index for data of unit variance.
    """

    rows: tuple[Row, ...]
    clip: float | None = None
    init_scale: float = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def evaluations(self) -> int:
        """How often the network runs."""
        return sum(row.evaluates for row in self.rows)

    @property
    def history(self) -> int:
        """How many past m the rows look back at."""
        return max((len(row.c_history) for row in self.rows), default=0)
