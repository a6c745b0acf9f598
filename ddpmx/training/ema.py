"""The exponential moving average of a network's weights, which is used for sampling."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """average ← decay·average + (1 − decay)·weights after each step; buffers are copied, not averaged.

    `module` is the averaged network, in eval mode and without gradients. It starts as a copy of `model`. With
    `warmup`, the decay after step k is min(decay, (1 + k)/(10 + k)), so that the random initial weights are
    forgotten quickly. Polyak & Juditsky 1992; the warm-up is that of TensorFlow's `ExponentialMovingAverage`.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool) -> None:
        self.decay, self.warmup = decay, warmup
        self.module = copy.deepcopy(model).eval().requires_grad_(False)

    def decay_at(self, step: int) -> float:
        """The decay of the update after step `step`, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights of `model` after step `step`.

        There is no other state than the step and the average.
        """
        # average ← decay·average + (1 − decay)·weights
        torch._foreach_lerp_(
            list(self.module.parameters()), list(model.parameters()), 1 - self.decay_at(step)
        )
        for average, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """The averaged network's state, for a checkpoint."""
        return self.module.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a checkpoint's state.

        Raises RuntimeError if its names or shapes do not match the network's.
        """
        self.module.load_state_dict(state)
