"""Timesteps drawn in proportion to the size of their recent losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import inverse
from .uniform import Uniform

HISTORY = 10
"""Losses kept for each timestep, as in the paper."""
UNIFORM_PROBABILITY = 0.001
"""The part of the distribution that stays uniform, as in the paper's code, so that every timestep is still
drawn."""


@TIMES.register("loss_aware", paper="Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 18")
class LossAware(Uniform):
    """Draws timesteps with larger losses more often, for less noisy gradients of the same objective.

    L_t is the weighted loss, and the mean is over the last 10 losses of timestep t::

        p_t ∝ √E[L_t²]

    The training loss is divided by T·p_t, which keeps the objective that of uniform times. Draws are uniform
    until every timestep has been drawn 10 times, which takes at least 10·T images; after that a part of 0.001
    stays uniform. The history is saved in checkpoints.
    """

    def start(self, table: Table) -> LossHistory:
        return LossHistory(table.timesteps)


class LossHistory:
    """The last 10 losses of each timestep, of which the k-th is stored in column k mod 10."""

    def __init__(self, timesteps: int) -> None:
        self.losses = torch.zeros(timesteps, HISTORY, dtype=torch.float64)  # [T, HISTORY]
        self.counts = torch.zeros(timesteps, dtype=torch.int64)  # [T]

    def probabilities(self) -> Tensor:
        """p_t: float64 [T], of sum 1."""
        # p_t = (1 − 0.001)·√E[L_t²]/Σ_s √E[L_s²] + 0.001/T
        size = self.losses.square().mean(dim=1).sqrt()  # √E[L_t²]: [T]
        uniform = torch.full_like(size, 1 / len(size))
        if bool((self.counts < HISTORY).any()) or not float(size.sum()) > 0:
            return uniform
        return (1 - UNIFORM_PROBABILITY) * size / size.sum() + UNIFORM_PROBABILITY * uniform

    def draw(self, u: Tensor) -> Tensor:
        p = self.probabilities()
        return inverse(torch.cat([p.new_zeros(1), p.cumsum(0)]), u)

    def importance(self) -> Tensor:
        """1/(T·p_t), so that the mean over draws is the mean over uniform timesteps: float64 [T]."""
        p = self.probabilities()
        return 1 / (len(p) * p)

    def update(self, t: Tensor, losses: Tensor) -> None:
        table, counts = self.losses.numpy(), self.counts.numpy()
        for index, loss in zip(t.tolist(), losses.tolist(), strict=True):
            table[index, counts[index] % HISTORY] = loss
            counts[index] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self.losses, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.losses.copy_(state["losses"])
        self.counts.copy_(state["counts"])
