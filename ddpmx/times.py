"""How training draws the timestep of each sample."""

from __future__ import annotations

from torch import Tensor

from .registry import TIMES, Component
from .schedules import Table


class Time(Component):
    """Base of all time distributions."""

    def draw(self, u: Tensor, table: Table) -> Tensor:
        """Indices, int64 [B] in 0 … T−1, from uniform numbers `u`, float64 [B] in [0, 1)."""
        raise NotImplementedError


@TIMES.register("uniform", paper="Ho et al. 2020, arXiv:2006.11239")
class Uniform(Time):
    """Every timestep is as likely as any other."""

    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (u * table.timesteps).long()
