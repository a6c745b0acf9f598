"""The moving averages of a network's weights during training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ..components.registry import method_of
from ..emas import Ema


class Averages:
    """Averages of a network's weights, updated after each step; buffers are copied, not averaged.

    `modules` has the averaged networks, in eval mode and without gradients. They start as copies of `model`.
    Their only other state is the step.
    """

    def __init__(self, model: nn.Module, ema: Ema) -> None:
        self.ema = ema
        self.modules = tuple(copy.deepcopy(model).eval().requires_grad_(False) for _ in ema.decays(1))

    @property
    def module(self) -> nn.Module:
        """The averaged network for validation, samples and metrics."""
        return self.modules[0]

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Average in the weights of `model` after step `step`, which counts from 1.

        Raises PluginError if a plugin's number of averages changes.
        """
        decays = self.ema.decays(step)
        if len(decays) != len(self.modules):
            method_of(type(self.ema)).refuse(
                f"has {len(decays)} decays at step {step}, but {len(self.modules)} at step 1"
            )
        weights: list[Tensor] = list(model.parameters())
        for module, decay in zip(self.modules, decays, strict=True):
            # average ← decay·average + (1 − decay)·weights
            torch._foreach_lerp_(list(module.parameters()), weights, 1 - decay)
            for average, buffer in zip(module.buffers(), model.buffers(), strict=True):
                average.copy_(buffer)

    def named(self) -> dict[str, nn.Module]:
        """The averaged networks by the names of their files in a checkpoint: `ema`, `ema-1`, …"""
        return {f"ema-{index}" if index else "ema": module for index, module in enumerate(self.modules)}
