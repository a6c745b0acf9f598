"""Euler's method, and its ancestral form."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from ..components.registry import SAMPLERS
from ..rows import Row
from .base import Solver, straight
from .ddim import DDIM
from .path import Path


@SAMPLERS.register("euler", paper="Karras et al. 2022, arXiv:2206.00364, algorithm 1 without its second half")
class Euler(Solver):
    """First-order steps of the probability-flow ODE, equal to ddim with eta 0 on every schedule.

    ::

        x_s = signal_s·x_0 + sigma_s·ε
    """

    def solve(self, path: Path, i: int) -> Iterable[Row]:
        yield straight(path[i], path[i + 1])


@SAMPLERS.register("euler_ancestral", paper="Karras et al. 2022, arXiv:2206.00364; Crowson, k-diffusion")
class EulerAncestral(DDIM):
    """An Euler step to less noise than the next index has, then new noise up to its level.

    It equals ddim, with eta 1 by default. With n = sigma/signal::

        std_up² = eta²·n_s²·(1 − n_s²/n_t²)     std_down² = n_s² − std_up²
    """

    eta: float = Field(1.0, ge=0, le=1)
    """New noise, as a fraction of the posterior's standard deviation; 0 is euler."""
