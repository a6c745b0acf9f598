"""Heun's method (Karras et al. 2022, arXiv:2206.00364)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..components.registry import SAMPLERS
from ..rows import Row
from ..schedules import Table
from .base import Solver, straight
from .path import Path, Point


def trapezoid(here: Point, there: Point, *, flow: bool = False) -> Iterable[Row]:
    """Euler's step, then a repeat of it with the mean of the derivatives at both ends.

    In z = x/c, with c = signal (or 1 for `flow`)::

        z' = z + (d + d')/2     d' = Δ(signal/c)·x_0 + Δ(sigma/c)·ε, evaluated at `there`

    z + d is the state after Euler's step.
    """
    c_here, c_there = (1.0, 1.0) if flow else (here.signal, there.signal)
    signal = there.signal / c_there - here.signal / c_here
    sigma = there.sigma / c_there - here.sigma / c_here
    yield replace(straight(here, there), keep_anchor=True)
    yield Row(
        there.t,
        there.x0_from_x,
        there.x0_from_output,
        c_x=0.5 + 0.5 * c_there * sigma / there.sigma,
        c_x0=0.5 * c_there * (signal - sigma * there.signal / there.sigma),
        c_anchor=0.5 * c_there / c_here,
    )


@SAMPLERS.register("heun", paper="Karras et al. 2022, arXiv:2206.00364, algorithm 1")
class Heun(Solver):
    """Second order, two evaluations per step: the trapezoidal rule for the probability-flow ODE.

    With n = sigma/signal, y = x/signal and d = ε, at both ends of Euler's step::

        y_s = y_t + (n_s − n_t)·(d_t + d_s)/2

    On rectified flow (signal + sigma = 1), n is sigma instead, y is x, and d is the velocity ε − x_0.
    """

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield from trapezoid(path[i], path[i + 1], flow=_is_flow(path.table))

    def takes(self, path: Path, i: int) -> bool:
        """Whether log-SNR is finite at both ends; on rectified flow a step may also start from pure noise."""
        return path[i + 1].inside and (path[i].inside or _is_flow(path.table))


def _is_flow(table: Table) -> bool:
    """Whether the table is rectified flow: signal + sigma = 1 at every index."""
    return bool(((table.signal + table.sigma - 1).abs() < 1e-9).all())
