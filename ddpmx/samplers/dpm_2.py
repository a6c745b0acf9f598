"""DPM-Solver-2 in sigma/signal, as k-diffusion has it."""

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
    """The step with the derivative at the log-SNR midpoint; `there` may be off the path, `noise` is added at its end.

    With n = sigma/signal, y = x/signal and ε at the midpoint: y' = y + (n' − n)·ε.
    """
    middle = path.between(here, there)
    per_noise = there.signal * (there.sigma_ve - here.sigma_ve) / middle.sigma
    yield replace(straight(here, middle), keep_anchor=True)
    yield Row(
        middle.t,
        middle.x0_from_x,
        middle.x0_from_output,
        c_x=per_noise,
        c_x0=-per_noise * middle.signal,
        c_anchor=there.signal / here.signal,
        c_noise=noise,
    )


@SAMPLERS.register(
    "dpm_2", paper="Lu et al. 2022, arXiv:2206.00927, algorithm 1; Karras et al. 2022, arXiv:2206.00364"
)
class DPM2(Solver):
    """Second order, two evaluations a step: the midpoint rule in sigma/signal, the midpoint being that of log-SNR."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield from midpoint(path, path[i], path[i + 1])


@SAMPLERS.register("dpm_2_ancestral", paper="Lu et al. 2022, arXiv:2206.00927; Crowson, k-diffusion")
class DPM2Ancestral(Solver):
    """A step of dpm_2 to less noise than the next index has, then new noise up to it."""

    eta: float = Field(1.0, ge=0, le=1)
    """Share of the posterior's standard deviation that is added as new noise; 0 is dpm_2."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        target, noise = split(path[i], path[i + 1], self.eta)
        yield from midpoint(path, path[i], target, noise)
