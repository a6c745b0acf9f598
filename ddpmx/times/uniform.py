"""Distributions in which all timesteps are equally likely."""

from __future__ import annotations

import torch
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import Time


class _EqualProbabilities(Time):
    def probabilities(self, table: Table) -> Tensor:
        """1/T at each index: float64 [T]."""
        return torch.full_like(table.signal, 1 / table.timesteps)


@TIMES.register("uniform", paper="Ho et al. 2020, arXiv:2006.11239")
class Uniform(_EqualProbabilities):
    """Every timestep is equally likely, independently for each image."""

    def draw(self, u: Tensor, table: Table) -> Tensor:
        return (u * table.timesteps).long()


@TIMES.register("stratified", paper="Kingma et al. 2021, arXiv:2107.00630, app. I.1")
class Stratified(_EqualProbabilities):
    """Spreads a batch's B draws evenly, one in each of B equal parts of (0, 1), for a less noisy gradient.

    ::

        t_i = (u_0 + i/B) mod 1 for image i of the batch

    Each draw by itself is uniform. The draws depend on the seed, the step and the images only, not on a
    random generator or on how the batch is split over processes or accumulation steps. But the timestep of an
    image depends on the whole batch: on its size, on its first image, whose u_0 is used for all, and on the
    image's position. Another batch size therefore draws other timesteps.
    """

    def draw(self, u: Tensor, table: Table) -> Tensor:
        # t_i = (u_0 + i/B) mod 1
        offset = torch.arange(len(u), dtype=u.dtype, device=u.device) / len(u)
        return ((u[:1] + offset) % 1 * table.timesteps).long()
