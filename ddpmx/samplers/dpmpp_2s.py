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
    """The straight step with the x_0 of the log-SNR midpoint, then noise of standard deviation `noise`.

    `there` need not be on the path.
    """
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
    """Second order, two evaluations per step: DPM-Solver++(2S).

    u is the state after the straight step from t to the log-SNR midpoint. With λ = log(signal/sigma) and
    h = λ_s − λ_t::

        x_s = sigma_s/sigma_t·x_t + signal_s·(1 − e^(−h))·x_0(u)
    """

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield from singlestep(path, path[i], path[i + 1])


@SAMPLERS.register("dpmpp_2s_ancestral", paper="Lu et al. 2022, arXiv:2211.01095; Crowson, k-diffusion")
class DPMpp2SAncestral(Solver):
    """A dpmpp_2s step to less noise than the next index has, then new noise up to its level."""

    eta: float = Field(1.0, ge=0, le=1)
    """New noise, as a fraction of the posterior's standard deviation; 0 is dpmpp_2s."""

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        target, noise = split(path[i], path[i + 1], self.eta)
        yield from singlestep(path, path[i], target, noise)
