"""Timesteps drawn by how large their losses were."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..components.registry import TIMES
from ..schedules import Table
from .base import inverse
from .uniform import Uniform

HISTORY = 10  # losses of each timestep, the paper's
UNIFORM = 0.001  # share that stays uniform: the paper's code's, so that no timestep is forgotten


@TIMES.register("loss_aware", paper="Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 18")
class LossAware(Uniform):
    """p_t ∝ √E[L_t²] over the last 10 losses of each timestep, the loss divided by T·p_t: the same objective with less noisy gradients.

    Uniform until each timestep has been drawn 10 times, which takes at least 10·T images; then a share of 0.001 stays uniform.
    L_t is the weighted loss. The history is part of a checkpoint.
    """

    def start(self, table: Table) -> LossHistory:
        return LossHistory(table.timesteps)


class LossHistory:
    """The last losses of each timestep: the k-th that it had is at k mod 10."""

    def __init__(self, timesteps: int) -> None:
        self.losses = torch.zeros(timesteps, HISTORY, dtype=torch.float64)
        self.counts = torch.zeros(timesteps, dtype=torch.int64)

    def probabilities(self) -> Tensor:
        """p_t, float64 [T], of sum 1."""
        size = self.losses.square().mean(dim=1).sqrt()
        even = torch.full_like(size, 1 / len(size))
        if bool((self.counts < HISTORY).any()) or not float(size.sum()) > 0:
            return even
        return (1 - UNIFORM) * size / size.sum() + UNIFORM * even

    def draw(self, u: Tensor) -> Tensor:
        p = self.probabilities()
        return inverse(torch.cat([p.new_zeros(1), p.cumsum(0)]), u)

    def importance(self) -> Tensor:
        """1/(T·p_t), whatever p is: the mean over draws is that over uniform timesteps."""
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
