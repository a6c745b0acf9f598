"""DPM-Solver-2 in sigma/signal, as in k-diffusion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .ancestral import split
from .base import Solver, straight
from .path import Path, Point


def midpoint(path: Path, here: Point, there: Point, noise: float = 0.0) -> Iterable[Row]:
    """A step with the derivative at the log-SNR midpoint, then noise of standard deviation `noise`.

    `there` need not be on the path. With n = sigma/signal, y = x/signal and ε at the midpoint::

        y' = y + (n' − n)·ε
    """
    middle = path.between(here, there)
    # With ε = (x_m − signal_m·x_0)/sigma_m at the midpoint m and factor = signal'·(n' − n)/sigma_m:
    # x' = signal'/signal·x + factor·(x_m − signal_m·x_0)
    factor = there.signal * (there.sigma_ve - here.sigma_ve) / middle.sigma
    yield replace(straight(here, middle), keep_anchor=True)
    yield Row(
        middle.t,
        middle.x0_from_x,
        middle.x0_from_output,
        c_x=factor,
        c_x0=-factor * middle.signal,
        c_anchor=there.signal / here.signal,
        c_noise=noise,
    )


@SAMPLERS.register(
    "dpm_2", paper="Lu et al. 2022, arXiv:2206.00927, algorithm 1; Karras et al. 2022, arXiv:2206.00364"
)
class DPM2(Solver):
    """Second order, two evaluations per step: the midpoint rule in sigma/signal, at the log-SNR midpoint."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield from midpoint(path, path[i], path[i + 1])


@SAMPLERS.register("dpm_2_ancestral", paper="Lu et al. 2022, arXiv:2206.00927; Crowson, k-diffusion")
class DPM2Ancestral(Solver):
    """A dpm_2 step to less noise than the next index has, then new noise up to its level."""

    eta: float = Field(1.0, ge=0, le=1)
    """New noise, as a fraction of the posterior's standard deviation; 0 is dpm_2."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        target, noise = split(path[i], path[i + 1], self.eta)
        yield from midpoint(path, path[i], target, noise)
