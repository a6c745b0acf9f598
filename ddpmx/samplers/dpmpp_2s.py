"""DPM-Solver++(2S) (Lu et al. 2022, arXiv:2211.01095)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .ancestral import split
from .base import Solver, straight
from .path import Path, Point


def singlestep(path: Path, here: Point, there: Point, noise: float = 0.0) -> Iterable[Row]:
    """The straight step with x_0 as it is at the log-SNR midpoint; `there` may be off the path, `noise` is added at its end."""
    middle, whole = path.between(here, there), straight(here, there)
    yield replace(straight(here, middle), keep_anchor=True)
    yield Row(
        middle.t,
        middle.x0_from_x,
        middle.x0_from_output,
        c_x=0.0,
        c_x0=whole.c_x0,
        c_anchor=whole.c_x,
        c_noise=noise,
    )


@SAMPLERS.register("dpmpp_2s", paper="Lu et al. 2022, arXiv:2211.01095, algorithm 1 with r = 1/2")
class DPMpp2S(Solver):
    """Second order, two evaluations a step: DPM-Solver++(2S).

    With u the straight step from t to the log-SNR midpoint: x_s = sigma_s/sigma_t·x_t + signal_s·(1 − e^(−h))·x_0(u).
    """

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield from singlestep(path, path[i], path[i + 1])


@SAMPLERS.register("dpmpp_2s_ancestral", paper="Lu et al. 2022, arXiv:2211.01095; Crowson, k-diffusion")
class DPMpp2SAncestral(Solver):
    """A step of dpmpp_2s to less noise than the next index has, then new noise up to it."""

    eta: float = Field(1.0, ge=0, le=1)
    """Share of the posterior's standard deviation that is added as new noise; 0 is dpmpp_2s."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        target, noise = split(path[i], path[i + 1], self.eta)
        yield from singlestep(path, path[i], target, noise)
