"""Running diffusers' schedulers and ddpmx's plans with the same indices, start and noise.

In float64 where diffusers allows it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ddpmx.components.registry import SAMPLERS, SCHEDULES
from ddpmx.rows import Plan
from ddpmx.sampling.loop import sample
from ddpmx.schedules import Table

Denoise = Callable[[Tensor, Tensor], Tensor]

LINEAR = SCHEDULES.build("linear", timesteps=1000).table()
THEIR_NAMES = {"epsilon": "epsilon", "x_start": "sample", "v": "v_prediction"}
SHAPE = (3, 1, 4, 4)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64 of this shape."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def injected(k: int, shape: tuple[int, ...]) -> Tensor:
    """The k-th noise that both samplers add."""
    return random(*shape, seed=1000 + k)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest of their values."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def plan(name: str, table: Table, indices: list[float], prediction: str, **parameters: Any) -> Plan:
    return SAMPLERS.build(name, clip=None, **parameters).plan(table, prediction, timesteps=indices)


def ours(plan: Plan, denoise: Denoise, x: Tensor) -> Tensor:
    return sample(denoise, plan, x.shape, x_init=x, noise=injected, dtype=torch.float64)


def states(plan: Plan, denoise: Denoise, x: Tensor) -> list[Tensor]:
    """x after each row of the plan."""
    after: list[Tensor] = []
    sample(
        denoise,
        plan,
        x.shape,
        x_init=x,
        noise=injected,
        dtype=torch.float64,
        callback=lambda i, row, x_next, m: after.append(x_next),
    )
    return after


def prepared(scheduler: Any, steps: int, table: Table = LINEAR) -> Any:
    """The scheduler with ddpmx's table in float64, and `steps` timesteps of the scheduler's choice."""
    scheduler.alphas_cumprod = table.alpha_bar.numpy()
    scheduler.set_timesteps(steps)
    if len(scheduler.sigmas) == len(scheduler.timesteps) + 1 == steps + 1:
        indices = scheduler.timesteps.long()
        end = table.sigma_ve[:1] if scheduler.sigmas[-1] > 0 else torch.zeros(1, dtype=torch.float64)
        scheduler.sigmas = torch.cat([table.sigma_ve[indices], end])
    return scheduler


def theirs(
    scheduler: Any,
    denoise: Denoise,
    x: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    *,
    scaled: bool,
) -> Tensor:
    """The scheduler's final sample from ddpmx's state x.

    `scaled`: the scheduler's state is x/signal.
    """
    drawn = {"k": 0}

    def noise(shape: Any, **unused: object) -> Tensor:
        drawn["k"] += 1
        return injected(drawn["k"] - 1, tuple(shape))

    module = sys.modules[type(scheduler).__module__]
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", noise)
    y = x * (1 + scheduler.sigmas[0].double() ** 2).sqrt() if scaled else x
    for t in scheduler.timesteps:
        model_input = scheduler.scale_model_input(y, t) if scaled else y
        y = scheduler.step(
            denoise(model_input.double(), t.double().expand(len(x))), t, y
        ).prev_sample.double()
    return y
