"""All timesteps alike."""

from __future__ import annotations

import torch
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import Time


class _Even(Time):
    def probabilities(self, table: Table) -> Tensor:
        """1/T each."""
        return torch.full_like(table.signal, 1 / table.timesteps)


@TIMES.register("uniform", paper="Ho et al. 2020, arXiv:2006.11239")
class Uniform(_Even):
    """Every timestep is as likely as any other."""

    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (u * table.timesteps).long()


@TIMES.register("stratified", paper="Kingma et al. 2021, arXiv:2107.00630, app. I.1")
class Stratified(_Even):
    """One draw in each of the batch's B equal parts of (0, 1): (u_0 + i/B) mod 1 for the i-th image, for a less noisy gradient.

    Each draw by itself is uniform. Like all draws it is a function of seed, step and images, not of a generator, nor of how a
    batch is split over processes and accumulated parts. But the timestep of an image depends on the whole batch: its size, its
    first image, whose u is used for all, and the image's place in it. So another batch size draws other timesteps.
    """

    def draw(self, u: Tensor, table: Table) -> Tensor:
        place = torch.arange(len(u), dtype=u.dtype, device=u.device) / len(u)
        return ((u[:1] + place) % 1 * table.timesteps).long()
