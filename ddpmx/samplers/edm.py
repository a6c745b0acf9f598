"""EDM's stochastic sampler (Karras et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydantic import Field

from ..components.registry import SAMPLERS
from ..predictions import Prediction
from ..rows import Row
from ..schedules import Table
from .base import Solver, clean, straight
from .heun import trapezoid
from .path import Path, Point, index_at, points


@SAMPLERS.register("edm", paper="Karras et al. 2022, arXiv:2206.00364, algorithm 2")
class EDM(Solver):
    """Heun's method with "churn": before each step, new noise raises n = sigma/signal to n̂ = (1 + γ)·n.

    ::

        γ = min(s_churn/steps, √2 − 1) where s_tmin ≤ n ≤ s_tmax, else 0

    n̂ is at most the table's largest sigma/signal. The network is evaluated at n̂, a fractional index. The
    noise is added by the row before the step, which is exact because both are linear.
    """

    s_churn: float = Field(0.0, ge=0)
    """Amount of noise added over all steps; 0 is heun."""
    s_tmin: float = Field(0.0, ge=0)
    """Lowest sigma/signal at which noise is added."""
    s_tmax: float | None = Field(None, gt=0)
    """Highest sigma/signal at which noise is added; null: no limit."""
    s_noise: float = Field(1.0, gt=0)
    """Factor on the standard deviation of the added noise."""

    def rows(self, table: Table, prediction: Prediction, timesteps: Sequence[float]) -> Iterable[Row]:
        """The rows of all steps, after a row that only adds noise if the first step churns."""
        path = Path(table, prediction, timesteps)
        raised = [self._raised(path, i) for i in range(len(path))]
        if raised[0] is not path[0]:
            yield self._churned(Row(path[0].t, 0.0, 0.0, c_x=1.0, c_x0=0.0, push=False), path[0], raised[0])
        for i, here in enumerate(raised[:-1]):
            there = path[i + 1]
            *rows, last = trapezoid(here, there) if here.inside and there.inside else [straight(here, there)]
            yield from rows
            yield self._churned(last, there, raised[i + 1])
        yield clean(raised[-1])

    def _raised(self, path: Path, i: int) -> Point:
        """Point i after its churn; the point itself if it does not churn."""
        point = path[i]
        gamma = min(self.s_churn / len(path), math.sqrt(2) - 1)
        if (
            gamma == 0
            or not point.inside
            or not self.s_tmin <= point.sigma_ve <= (math.inf if self.s_tmax is None else self.s_tmax)
        ):
            return point
        index = index_at(path.table, 2 * (point.half_log_snr - math.log1p(gamma)))
        (raised,) = points(path.table, path.prediction, [index])
        return raised if raised.sigma_ve > point.sigma_ve else point

    def _churned(self, row: Row, before: Point, after: Point) -> Row:
        """The row extended: it reaches `before`, then adds noise up to `after`."""
        if before is after:
            return row
        # x̂ = signal_after/signal_before·x' + signal_after·√(n_after² − n_before²)·s_noise·ε
        scale = after.signal / before.signal
        noise = after.signal * math.sqrt(after.sigma_ve**2 - before.sigma_ve**2) * self.s_noise
        return replace(
            row, c_x=row.c_x * scale, c_x0=row.c_x0 * scale, c_anchor=row.c_anchor * scale, c_noise=noise
        )
